import subprocess
import sys

PROGRAM = """
import ctypes, threading
from relay.box.heap import share_heap

share_heap()
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
taken = []
threads = [threading.Thread(target=lambda: taken.append(malloc(4096))) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
(heap,) = (line for line in open("/proc/self/maps") if line.endswith("[heap]\\n"))
begin, end = (int(number, 16) for number in heap.split()[0].split("-"))
assert all(begin <= place < end for place in taken), taken
"""


def test_threads_take_memory_from_the_one_heap_of_the_process() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=20)

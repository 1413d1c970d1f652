"""Finds boxes by multicast DNS on loopback, as a program at home would: prints one JSON object a service."""

import json
import sys
import threading

from zeroconf import ServiceBrowser, ServiceListener, Zeroconf


class Finder(ServiceListener):
    def __init__(self):
        self.events = []
        self.news = threading.Condition()

    def _note(self, what, zeroconf, kind, name):
        info = zeroconf.get_service_info(kind, name, timeout=3000) if what == "add" else None
        found = {"event": what, "kind": kind, "name": name}
        if info is not None:
            texts = {key.decode(): value.decode() for key, value in info.properties.items()}
            found |= {"port": info.port, "addresses": info.parsed_addresses(), "host": info.server, "texts": texts}
        print(json.dumps(found), flush=True)

    def add_service(self, zeroconf, kind, name):
        self._note("add", zeroconf, kind, name)

    def remove_service(self, zeroconf, kind, name):
        self._note("remove", zeroconf, kind, name)

    def update_service(self, zeroconf, kind, name):
        pass


zeroconf = Zeroconf(interfaces=["127.0.0.1"])
browser = ServiceBrowser(zeroconf, sys.argv[1:], Finder())
sys.stdin.read()
zeroconf.close()

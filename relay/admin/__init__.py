"""The local admin socket: the door of this machine's command line and console."""

"""Bring up the loopback of a network namespace of one's own, then become the command that follows.

`unshare --net … python own_network.py COMMAND…`: every port is free there, also the usual ones, and
nothing leads out.
"""

import fcntl
import os
import socket
import struct
import sys

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
"""Linux, <linux/sockios.h> and <net/if.h>."""


def loopback_up() -> None:
    """What `ip link set lo up` does, where iproute2 may be missing."""
    with socket.socket() as asked:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(asked, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(asked, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    loopback_up()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  the point of it

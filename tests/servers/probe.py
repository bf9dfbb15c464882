"""Tries what it is told to, and prints what the kernel says to each: ``done`` or the name of an errno. Standard library
only."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from pathlib import Path

PTRACE_SEIZE = 0x4206


def read(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY))


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)


def ptrace(pid: str) -> None:
    """It ends with us."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, int(pid), None, None):
        raise OSError(ctypes.get_errno(), "ptrace")


def kill(pid: str) -> None:
    os.kill(int(pid), signal.SIGCONT)


def become(uid: str) -> None:
    os.setuid(int(uid))


WISHES = {"read": read, "write": write, "list": os.listdir, "connect": connect, "ptrace": ptrace, "kill": kill,
          "become": become}  # fmt: skip


def outcome(word: str, argument: str) -> str:
    try:
        WISHES[word](argument)
    except OSError as refused:
        return errno.errorcode[refused.errno or 0]
    return "done"


if __name__ == "__main__":
    print(json.dumps([outcome(*wish) for wish in json.loads(sys.argv[1])]))

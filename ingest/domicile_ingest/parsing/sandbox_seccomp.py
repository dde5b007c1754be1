"""The system calls of a parsing process: a short list of harmless ones, and no other exists for it.

An allow-list, because a list of forbidden calls lacks the next one (``io_uring`` came after most such lists). What is
not on it gives ENOSYS, as on a kernel that never had it: C libraries then fall back to an older call.

Sources: seccomp(2), the kernel's ``include/uapi/linux/{filter,seccomp,audit}.h``; the numbers of
``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h`` (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Iterable

_X86_64 = 0xC000003E  # AUDIT_ARCH_X86_64
_AARCH64 = 0xC00000B7  # AUDIT_ARCH_AARCH64

_Numbers = dict[str, tuple[int | None, int | None]]

# Name: number on x86_64 and on aarch64.
_ALLOWED: _Numbers = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "lseek": (8, 62), "pread64": (17, 67),
    "readv": (19, 65), "writev": (20, 66),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),"poll": (7, None), "ppoll": (271, 73),
    "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "futex": (202, 98), "set_robust_list": (273, 99), "set_tid_address": (218, 96),
    "rseq": (334, 293), "membarrier": (324, 283), "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "getrandom": (318, 278), "getrusage": (98, 165),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "sysinfo": (99, 179), "uname": (63, 160),
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_WITH_CONDITIONS: _Numbers = {
    "open": (2, None), "openat": (257, 56), "fcntl": (72, 25), "prlimit64": (302, 261), "tgkill": (234, 131),
}  # fmt: skip

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_ALL = 0xFFFFFFFF

_LOAD, _AND, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_RET_ALLOW, _RET_ERRNO, _RET_KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000
"""Calls of the x32 ABI have this bit; they reach the same kernel functions under other numbers."""

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

Condition = tuple[int, int, int]
"""Argument, mask and value: allowed where ``argument & mask == value``."""


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def allow_only_parsing() -> None:
    """Install the filter for this thread and for good; ``PR_SET_NO_NEW_PRIVS`` must be set.

    Raises:
        OSError: this kernel or this machine has no such filter.
    """
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64") or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no filter is known for {machine}")
    code = _assemble(machine == "x86_64")
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _assemble(x86_64: bool) -> bytes:
    column = 0 if x86_64 else 1
    code = [
        _op(_LOAD, _ARCHITECTURE_AT),
        _op(_JUMP_EQUAL, _X86_64 if x86_64 else _AARCH64, if_true=1),
        _op(_RETURN, _RET_KILL_PROCESS),
        _op(_LOAD, _NUMBER_AT),
    ]
    if x86_64:
        code += [_op(_JUMP_GREATER_EQUAL, _X32, if_false=1), _op(_RETURN, _RET_ERRNO | errno.ENOSYS)]
    for name, conditions in _conditions().items():
        if (number := _WITH_CONDITIONS[name][column]) is not None:
            checks = list(_check(conditions))
            code += [_op(_JUMP_EQUAL, number, if_false=len(checks)), *checks]
    for numbers in _ALLOWED.values():
        if (number := numbers[column]) is not None:
            code += [_op(_JUMP_EQUAL, number, if_false=1), _op(_RETURN, _RET_ALLOW)]
    return b"".join([*code, _op(_RETURN, _RET_ERRNO | errno.ENOSYS)])


def _conditions() -> dict[str, tuple[Condition, ...]]:
    return {
        "open": ((1, _WRITING, 0),),
        "openat": ((2, _WRITING, 0),),
        # F_DUPFD, F_GETFD, F_SETFD and F_GETFL; F_SETOWN would send signals to other processes.
        "fcntl": ((1, _ALL & ~3, 0),),
        # One's own limit of CPU seconds, which is raised from document to document.
        "prlimit64": ((0, _ALL, 0), (1, _ALL, resource.RLIMIT_CPU)),
        # abort() signals the thread that calls it.
        "tgkill": ((0, _ALL, os.getpid()),),
    }


def _check(conditions: Iterable[Condition]) -> Iterable[bytes]:
    for argument, mask, value in conditions:
        # The lower half of a 64-bit argument, little-endian: the kernel reads these as int.
        yield _op(_LOAD, _ARGUMENTS_AT + 8 * argument)
        yield _op(_AND, mask)
        yield _op(_JUMP_EQUAL, value, if_true=1)
        yield _op(_RETURN, _RET_ERRNO | errno.EPERM)
    yield _op(_RETURN, _RET_ALLOW)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One ``struct sock_filter``."""
    return struct.pack("=HBBI", code, if_true, if_false, value)

"""The inner wall: rights that a process gives up for good before it runs a user's source.

Imports only the standard library: the host passes this file's text to a fresh interpreter (``process.py``),
which cannot read the checkout. Sources: landlock(7), seccomp(2),
``linux/filter.h``, ``linux/landlock.h``, ``asm/unistd.h`` of x86-64 and of AArch64.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from typing import NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)


class JailUnavailable(Exception):
    """The kernel does not support the inner wall. ``args`` are the reason and the remedy."""


def lock(readable: list[str], memory_bytes: int) -> list[str]:
    """Lock this process in and return the layers. It can then read only files under ``readable``.

    The process must have one thread. Raises ``JailUnavailable``.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        raise JailUnavailable(f"no system call table for {platform.machine()!r}.", "Use x86-64 or AArch64.")
    if _prctl(PR_SET_NO_NEW_PRIVS, 1):
        raise JailUnavailable("this kernel has no no_new_privs.", "Use Linux 5.13 or newer.")
    drop_capabilities(machine)
    set_limits(memory_bytes)
    abi = restrict_files(readable)
    filter_calls(machine)
    return ["no_new_privs", "rlimits", f"landlock (ABI {abi})", "seccomp"]


# --- system calls ----------------------------------------------------------------------------------

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
SIGKILL = 9
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522


def _syscall(number: int, *arguments: object) -> int:
    """Make the raw call; integers are passed as whole registers. Raises ``OSError``."""
    words = [ctypes.c_void_p(a) if isinstance(a, int) else a for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _prctl(option: int, argument: int) -> int:
    return int(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0))


def drop_capabilities(machine: Machine) -> None:
    """Drop all capabilities for good."""
    for capability in range(LAST_CAPABILITY + 1):
        _prctl(PR_CAPBSET_DROP, capability)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _syscall(machine.capset, ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def set_limits(memory_bytes: int) -> None:
    """Limit address space and descriptors; forbid file output, core dumps and processes."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_STACK: 8 << 20,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


# --- Landlock: which files -------------------------------------------------------------------------

# The same numbers on every architecture that Linux added since 2020.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
ACCESS_READ_FILE, ACCESS_READ_DIR = 1 << 2, 1 << 3
ACCESS_IOCTL_DEV = 1 << 15
# Rights over files that each ABI knows: 13 at first, then REFER, then TRUNCATE, then IOCTL_DEV.
FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
TCP_BIND_AND_CONNECT = 3
ABI_WITH_TCP = 4
SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3
ABI_WITH_SCOPES = 6


def restrict_files(readable: list[str]) -> int:
    """Allow only reading below ``readable``. Denies TCP and signals too, if the kernel can.

    Returns the kernel's Landlock ABI. Raises ``JailUnavailable``.
    """
    abi = _landlock_abi()
    handled = FILE_RIGHTS.get(abi, FILE_RIGHTS[4] | ACCESS_IOCTL_DEV)
    network = TCP_BIND_AND_CONNECT if abi >= ABI_WITH_TCP else 0
    scopes = SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if abi >= ABI_WITH_SCOPES else 0
    known_bytes = 24 if abi >= ABI_WITH_SCOPES else 16 if abi >= ABI_WITH_TCP else 8
    attributes = struct.pack("QQQ", handled, network, scopes)[:known_bytes]
    rules = _syscall(LANDLOCK_CREATE_RULESET, ctypes.c_char_p(attributes), known_bytes, 0)
    for path in filter(os.path.exists, readable):
        _allow_reading(rules, path)
    _syscall(LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)
    return abi


def _landlock_abi() -> int:
    try:
        return _syscall(LANDLOCK_CREATE_RULESET, 0, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError as error:
        raise JailUnavailable(
            f"Landlock is not available in this kernel ({platform.release()}): {error.strerror}.",
            "Use Linux 5.13 or newer with landlock among the active security modules (kernel argument lsm=).",
        ) from error


def _allow_reading(rules: int, path: str) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    access = ACCESS_READ_FILE | (ACCESS_READ_DIR if os.path.isdir(path) else 0)
    rule = struct.pack("=QI", access, descriptor)
    _syscall(LANDLOCK_ADD_RULE, rules, LANDLOCK_RULE_PATH_BENEATH, ctypes.c_char_p(rule), 0)
    os.close(descriptor)


# --- seccomp: which system calls -------------------------------------------------------------------


class Machine(NamedTuple):
    """The system call numbers of one architecture."""

    audit_arch: int
    allowed: dict[str, int]
    fcntl: int
    tgkill: int
    prlimit64: int
    seccomp: int
    capset: int
    foreign_abi_from: int | None
    """Numbers from here on belong to another calling convention (x32), which nothing of ours uses."""


CLONE3 = 435  # everywhere

# What CPython, numpy and the allocator need to compute and to import modules. Left out on purpose:
# socket*, clone, fork, vfork, execve*, ptrace, kill, ioctl, setrlimit, prctl, mount*, unshare, bpf, keyctl,
# io_uring_*, userfaultfd, perf_event_open, process_vm_*, memfd_create, chdir, and all that writes names
# into a file system.
X86_64 = Machine(
    audit_arch=0xC000003E,
    allowed={
        "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
        "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
        "rt_sigreturn": 15, "pread64": 17, "readv": 19, "writev": 20, "access": 21, "select": 23,
        "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33, "nanosleep": 35,
        "getitimer": 36, "setitimer": 38, "getpid": 39, "exit": 60, "uname": 63, "getcwd": 79,
        "readlink": 89, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100,
        "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "sigaltstack": 131,
        "gettid": 186, "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "restart_syscall": 219,
        "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
        "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "pselect6": 270,
        "ppoll": 271, "dup3": 292, "getrandom": 318, "membarrier": 324, "statx": 332, "rseq": 334,
        "close_range": 436, "faccessat2": 439,
    },
    fcntl=72,
    tgkill=234,
    prlimit64=302,
    seccomp=317,
    capset=126,
    foreign_abi_from=0x40000000,
)  # fmt: skip
AARCH64 = Machine(
    audit_arch=0xC00000B7,
    allowed={
        "getcwd": 17, "dup": 23, "dup3": 24, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61,
        "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pselect6": 72,
        "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94,
        "futex": 98, "nanosleep": 101, "getitimer": 102, "setitimer": 103, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135,
        "rt_sigreturn": 139, "times": 153, "uname": 160, "getrlimit": 163, "getrusage": 165,
        "gettimeofday": 169, "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176,
        "getegid": 177, "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216,
        "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278, "membarrier": 283, "statx": 291,
        "rseq": 293, "close_range": 436, "faccessat2": 439,
    },
    fcntl=25,
    tgkill=131,
    prlimit64=261,
    seccomp=277,
    capset=91,
    foreign_abi_from=None,
)  # fmt: skip
MACHINES = {"x86_64": X86_64, "aarch64": AARCH64}

# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC. Not F_SETOWN, which aims signals at other processes.
HARMLESS_FCNTL = (0, 1, 2, 3, 1030)

SECCOMP_SET_MODE_FILTER = 1
RETURN_ALLOW = 0x7FFF0000
RETURN_KILL_PROCESS = 0x80000000
RETURN_EPERM = 0x00050000 | 1
RETURN_ENOSYS = 0x00050000 | 38

# Classic BPF: load a 32-bit word, jump if equal or greater-or-equal, return a verdict.
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]; low words first.
OFFSET_NUMBER, OFFSET_ARCH, OFFSET_ARGUMENTS = 0, 4, 16


def filter_calls(machine: Machine) -> None:
    """Install the list of allowed calls; others fail with EPERM. Raises ``JailUnavailable``."""
    try:
        install(machine, program(machine, os.getpid()))
    except OSError as error:
        raise JailUnavailable(
            f"seccomp filters are not available in this kernel ({platform.release()}): {error.strerror}.",
            "Use a kernel with CONFIG_SECCOMP_FILTER, and a container profile that permits seccomp(2).",
        ) from error


def install(machine: Machine, instructions: list[bytes]) -> None:
    """Install a BPF program that runs before every later system call. Raises ``OSError``."""
    code = ctypes.create_string_buffer(b"".join(instructions))
    fprog = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code))
    _syscall(machine.seccomp, SECCOMP_SET_MODE_FILTER, 0, ctypes.c_char_p(fprog))


def program(machine: Machine, own_pid: int) -> list[bytes]:
    """The filter, in the order in which the kernel reads it."""
    code = [_load(OFFSET_ARCH), _jump(JUMP_EQUAL, machine.audit_arch, 1, 0), _return(RETURN_KILL_PROCESS)]
    code.append(_load(OFFSET_NUMBER))
    if machine.foreign_abi_from is not None:
        code += [_jump(JUMP_AT_LEAST, machine.foreign_abi_from, 0, 1), _return(RETURN_EPERM)]
    # glibc tries clone3 first and clone only if told that there is no clone3.
    code += _answer(CLONE3, RETURN_ENOSYS)
    code += _if_argument(machine.fcntl, 1, HARMLESS_FCNTL)
    code += _if_argument(machine.tgkill, 0, (own_pid,))  # abort(), but no signal to anyone else
    code += _if_null_pointer(machine.prlimit64, 2)  # read limits, never set them
    for number in machine.allowed.values():
        code += _answer(number, RETURN_ALLOW)
    return [*code, _return(RETURN_EPERM)]


def _answer(number: int, verdict: int) -> list[bytes]:
    return [_jump(JUMP_EQUAL, number, 0, 1), _return(verdict)]


def _if_argument(number: int, index: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow call ``number`` if its int argument ``index`` is in ``values``; the kernel reads 32 bits."""
    body = [_load(OFFSET_ARGUMENTS + 8 * index)]
    for value in values:
        body += _answer(value, RETURN_ALLOW)
    body.append(_return(RETURN_EPERM))
    return [_jump(JUMP_EQUAL, number, 0, len(body)), *body]


def _if_null_pointer(number: int, index: int) -> list[bytes]:
    """Allow call ``number`` if both halves of its pointer argument ``index`` are zero."""
    low = OFFSET_ARGUMENTS + 8 * index
    body = [
        _load(low),
        _jump(JUMP_EQUAL, 0, 0, 3),
        _load(low + 4),
        _jump(JUMP_EQUAL, 0, 0, 1),
        _return(RETURN_ALLOW),
        _return(RETURN_EPERM),
    ]
    return [_jump(JUMP_EQUAL, number, 0, len(body)), *body]


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", LOAD, 0, 0, offset)


def _jump(test: int, operand: int, if_true: int, if_false: int) -> bytes:
    """Return a jump; ``if_true`` and ``if_false`` are numbers of instructions to skip."""
    return struct.pack("HBBI", test, if_true, if_false, operand)


def _return(verdict: int) -> bytes:
    return struct.pack("HBBI", RETURN, 0, 0, verdict)


# --- namespaces: the outer wall without bubblewrap -------------------------------------------------

# CLONE_NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
ALL_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
NOBODY = 65534


def die_with_parent() -> None:
    """Have this process killed when the thread that started it ends."""
    _prctl(PR_SET_PDEATHSIG, SIGKILL)


def enter_namespaces() -> None:
    """Continue in a child with its own user, network, process and mount namespaces.

    The present process stays behind, waits for the child and passes its end on. Raises ``OSError``.
    """
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(ALL_NAMESPACES):
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{NOBODY} {uid} 1"),
        ("gid_map", f"{NOBODY} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    die_with_parent()

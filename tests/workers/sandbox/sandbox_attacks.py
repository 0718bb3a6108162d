"""A hostile grader: the item names the attack. The tests hand this text to the sandbox; nothing imports it.

An attack that succeeds returns, which the tests take for an escape. ``item`` tells where the targets are.
"""

import contextlib
import ctypes
import fcntl
import importlib
import mmap
import os
import pickle
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

libc = ctypes.CDLL(None, use_errno=True)


def grade(sample, item):
    if item["attack"] == "none":
        return 0.5
    given = globals()[item["attack"]](item)
    return 1.0 if given is None else given


def call(number, *arguments):
    """A raw system call (x86-64 numbers), as a hostile C program would make it."""
    words = [ctypes.c_void_p(a) if isinstance(a, int) else a for a in arguments]
    if libc.syscall(ctypes.c_long(number), *words) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


# --- reading ---------------------------------------------------------------------------------------


def read_etc_passwd(item):
    Path("/etc/passwd").read_text()


def read_a_secret_file(item):
    Path(item["secret"]).read_text()


def read_the_checkout(item):
    Path(item["checkout"], "workers/contract/spec.py").read_text()


def read_the_bytes_of_the_interpreter(item):
    Path(sys.executable).read_bytes()


def list_the_root_folder(item):
    os.listdir("/")


def list_the_home_folder(item):
    os.listdir(item["home"])


def read_through_a_parent_folder(item):
    Path(os.path.dirname(os.__file__), "../../../../../../../../../etc/passwd").read_text()


def read_the_environment(item):
    return os.environ["GROOVE_SECRET"]


def read_its_own_environ_file(item):
    Path("/proc/self/environ").read_bytes()


def read_the_environment_of_another_process(item):
    Path(f"/proc/{item['victim']}/environ").read_bytes()


def list_processes(item):
    os.listdir("/proc")


# --- network ---------------------------------------------------------------------------------------


def connect_by_tcp(item):
    socket.create_connection(("127.0.0.1", item["port"]), 1)


def send_a_datagram(item):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", item["port"]))


def connect_to_a_socket_file(item):
    socket.socket(socket.AF_UNIX).connect(item["socket_file"])


def connect_to_an_abstract_socket(item):
    socket.socket(socket.AF_UNIX).connect("\0" + item["abstract_socket"])


def make_a_socket_pair(item):
    socket.socketpair()


def talk_to_the_kernel_by_netlink(item):
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


# --- processes -------------------------------------------------------------------------------------


def fork(item):
    if os.fork() == 0:
        os._exit(0)


def fork_without_end(item):
    while True:
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                time.sleep(60)


def vfork_by_hand(item):
    call(58)


def clone_by_hand(item):
    call(56, signal.SIGCHLD, 0, 0, 0, 0)


def run_a_shell(item):
    subprocess.run(["/bin/sh", "-c", "true"], check=True)


def become_another_program(item):
    os.execv("/bin/true", ["/bin/true"])


def spawn_a_program(item):
    os.posix_spawn("/bin/true", ["/bin/true"], {})


def start_a_thread(item):
    threading.Thread(target=time.sleep, args=(1,)).start()


def start_threads_without_end(item):
    while True:
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


def kill_the_host(item):
    os.kill(item["host"], signal.SIGKILL)


def kill_another_process(item):
    os.kill(item["victim"], signal.SIGKILL)


def kill_its_process_group(item):
    os.killpg(os.getpgid(0), signal.SIGKILL)


def kill_everything(item):
    os.kill(-1, signal.SIGKILL)


def kill_by_tgkill(item):
    call(234, item["victim"], item["victim"], signal.SIGKILL)


def aim_descriptor_signals_at_another_process(item):
    fcntl.fcntl(0, 8, item["victim"])


def trace_another_process(item):
    call(101, 0x4206, item["victim"], 0, 0)


def read_the_memory_of_another_process(item):
    call(310, item["victim"], 0, 0, 0, 0, 0)


# --- kernel ----------------------------------------------------------------------------------------


def make_a_user_namespace(item):
    call(272, 0x10000000)


def mount(item):
    call(165, ctypes.c_char_p(b"none"), ctypes.c_char_p(b"/"), ctypes.c_char_p(b"tmpfs"), 0, 0)


def change_root(item):
    os.chroot("/")


def load_a_bpf_program(item):
    call(321, 0, 0, 0)


def use_kernel_keys(item):
    call(250, 0, -3, 0)


def set_up_io_uring(item):
    call(425, 1, ctypes.create_string_buffer(256))


def handle_page_faults(item):
    call(323, 0)


def watch_performance_counters(item):
    call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0)


def use_the_x32_calling_convention(item):
    call(0x40000000 | 39)


def use_the_32_bit_calling_convention(item):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x02\x00\x00\x00\xcd\x80\xc3")  # mov eax, fork; int 0x80; ret
    code = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    code()


def change_its_user(item):
    os.setuid(0)


def become_privileged_again(item):
    call(157, 38, 0, 0, 0, 0)


def raise_its_limits(item):
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))


def raise_its_limits_by_a_pointer_with_an_empty_low_half(item):
    at = 0x7_0000_0000
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap(ctypes.c_void_p(at), ctypes.c_size_t(4096), 3, 0x32, -1, ctypes.c_long(0))
    ctypes.memmove(at, struct.pack("QQ", 4, 64), 16)
    call(302, 0, resource.RLIMIT_NOFILE, at, 0)


# --- writing ---------------------------------------------------------------------------------------


def write_in_the_working_folder(item):
    Path("groove-attack").write_text("x")


def write_beside_the_secret(item):
    Path(item["secret"] + ".new").write_text("x")


def overwrite_the_secret(item):
    Path(item["secret"]).write_text("x")


def truncate_the_secret(item):
    os.truncate(item["secret"], 0)


def delete_the_secret(item):
    os.unlink(item["secret"])


def open_the_secret_to_all(item):
    os.chmod(item["secret"], 0o777)


def rename_the_secret(item):
    os.rename(item["secret"], item["secret"] + ".old")


def touch_the_secret(item):
    os.utime(item["secret"], (0, 0))


def link_to_the_secret(item):
    os.symlink(item["secret"], "groove-link")


def change_a_module_for_the_next_grader(item):
    Path(re.__file__).write_text("")


def fill_the_disk(item):
    with tempfile.TemporaryFile() as file:
        for _ in range(1024):
            file.write(bytes(1 << 20))
            file.flush()


def fill_shared_memory(item):
    with open("/dev/shm/groove-attack", "wb") as file:
        file.write(bytes(1 << 20))


def make_a_file_in_memory(item):
    os.memfd_create("x")


# --- resources -------------------------------------------------------------------------------------


def allocate_8_gib(item):
    bytearray(8 << 30)


def map_8_gib(item):
    mmap.mmap(-1, 8 << 30)


def allocate_bit_by_bit(item):
    taken = []
    while True:
        taken.append(mmap.mmap(-1, 1 << 24))


def loop_forever(item):
    while True:
        pass


def sleep_forever(item):
    time.sleep(3600)


def loop_and_swallow_the_timeout(item):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def loop_with_the_timer_stopped(item):
    signal.setitimer(signal.ITIMER_REAL, 0)
    while True:
        pass


def loop_inside_the_regex_engine(item):
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    re.match("(a+)+$", "a" * 40 + "b")


def print_a_gigabyte(item):
    for _ in range(1000):
        print("x" * 1_000_000)


def print_a_gigabyte_and_swallow(item):
    for _ in range(1000):
        with contextlib.suppress(BaseException):
            print("x" * 1_000_000)
    sys.exit("done")


def recurse_without_end(item):
    recurse_without_end(item)


def overflow_the_stack(item):
    sys.setrecursionlimit(10**9)
    sorted([item], key=overflow_the_stack)


# --- the protocol ----------------------------------------------------------------------------------


def _on_every_descriptor(data):
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, data)


def _frame(text):
    return struct.pack("<I", len(text)) + text


def claim_a_reply_of_4_gb(item):
    _on_every_descriptor(struct.pack("<I", 4_000_000_000) + b"zzzz")


def send_a_reply_that_is_not_json(item):
    _on_every_descriptor(_frame(b"\xff\x00{{"))


def send_a_reply_nested_without_end(item):
    _on_every_descriptor(_frame(b"[" * 200_000))


def send_a_reward_that_is_nan(item):
    _on_every_descriptor(_frame(b'{"reward": NaN, "stdout": ""}'))


def send_a_reward_that_is_text(item):
    _on_every_descriptor(_frame(b'{"reward": "1", "stdout": ""}'))


def send_half_a_reply(item):
    _on_every_descriptor(struct.pack("<I", 100) + b"{")
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(3600)


def close_every_descriptor(item):
    os.closerange(0, 64)


# --- dying -----------------------------------------------------------------------------------------


def crash(item):
    ctypes.string_at(0)


def leave_at_once(item):
    os._exit(0)


def leave(item):
    sys.exit(3)


def abort(item):
    os.abort()


class Endless(Exception):
    def __str__(self):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while True:
            pass


def raise_what_cannot_be_shown(item):
    raise Endless


def raise_with_a_huge_message(item):
    raise ValueError("\ud800\0" * 10_000_000)


# --- results that are no numbers -------------------------------------------------------------------


class Pickled:
    def __reduce__(self):
        return os.system, ("touch /tmp/pickled",)


class Lying(float):
    def __float__(self):
        return Path("/etc/passwd")


def return_a_pickle(item):
    return Pickled()


def return_pickled_bytes(item):
    return pickle.dumps(Pickled())


def return_nan(item):
    return float("nan")


def return_infinity(item):
    return float("-inf")


def return_an_integer_too_large_for_a_float(item):
    return 10**400


def return_a_huge_string(item):
    return "9" * (1 << 24)


def return_a_float_that_lies(item):
    return Lying(0.5)


def return_a_value_nested_without_end(item):
    value = []
    for _ in range(100_000):
        value = [value]
    return value


# --- what is around it -----------------------------------------------------------------------------


def read_through_a_symbolic_link(item):
    os.symlink(item["secret"], "/dev/shm/link")


def read_through_its_descriptors(item):
    for number in range(64):
        Path(f"/proc/self/fd/{number}").read_bytes()


def find_a_socket_to_the_zygote(item):
    for number in range(64):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return
    raise ConnectionError("no socket among the descriptors")


def find_pipes_of_others(item):
    """Its own two pipes and the null device are all that may be open."""
    for number in range(64):
        with contextlib.suppress(OSError):
            kind = os.fstat(number)
            if stat.S_ISFIFO(kind.st_mode):
                item["pipes"] = item.get("pipes", 0) + 1
    if item["pipes"] == 2:
        raise ConnectionError("no pipe of anybody else")


def kill_the_zygote(item):
    os.kill(os.getppid(), signal.SIGKILL)


def import_what_belongs_to_groove(item):
    importlib.import_module("workers.contract.spec")


def import_what_groove_depends_on(item):
    importlib.import_module("django")


def find_groove_among_the_modules(item):
    if not [name for name in sys.modules if name.startswith(("workers", "webapp", "django", "torch"))]:
        raise ModuleNotFoundError("nothing of Groove")


def read_the_command_line(item):
    Path("/proc/self/cmdline").read_bytes()


def read_the_memory_of_the_zygote(item):
    Path(f"/proc/{os.getppid()}/mem").read_bytes()

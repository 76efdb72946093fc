"""A daemon that hangs leaves every thread's stack behind, whole, whatever it hangs in."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap

import pytest

PYTHON_ABI = "import ctypes; keeping_the_lock = ctypes.PyDLL(None)"


def child(script: str) -> subprocess.Popen[str]:
    """A Python process of its own that runs a script."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """What a process that ends by itself returned, and wrote to standard error."""
    with process:
        try:
            _, errors = process.communicate(timeout=30.0)
        finally:
            process.kill()
    return process.returncode, errors


@pytest.mark.parametrize(("busy", "idle"), [(12, 0), (2, 130)])
def test_an_abort_from_outside_shows_where_every_thread_was_though_some_are_busy(
    busy: int, idle: int
) -> None:
    process = child(
        f"""
        import threading
        from alprd.stacks import stacks_on_abort

        def deeper(levels):
            return deeper(levels - 1) if levels else 0

        def work(reached):
            reached.wait()
            while True:
                deeper(20)

        def wait(reached):
            reached.wait()
            threading.Event().wait()

        with stacks_on_abort():
            reached = threading.Barrier({busy} + {idle} + 1)
            for k in range({busy} + {idle}):
                what = work if k < {busy} else wait
                name = f"{{what.__name__}}-{{k}}"
                threading.Thread(target=what, args=(reached,), name=name, daemon=True).start()
            reached.wait()
            print("busy", flush=True)
            threading.Event().wait()
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGABRT)
    code, errors = end(process)
    assert code == -signal.SIGABRT
    headline, first, *others = errors.split("\n\n")
    assert headline.startswith("alprd: ended by SIGABRT")
    assert first.startswith('Thread "MainThread" (most recent call first):\n')
    assert first.endswith(" in <module>")
    shown = [stack.split('"')[1] for stack in others if re.search(r" in (work|wait)\n", stack)]
    names = [f"{'work' if k < busy else 'wait'}-{k}" for k in range(busy + idle)]
    assert sorted(shown) == sorted(names)


@pytest.mark.parametrize("errors_go", ["nowhere", "to a full disk"])
def test_an_abort_ends_a_process_that_cannot_write_either(errors_go: str) -> None:
    process = child(
        f"""
        import os, threading
        from alprd.stacks import stacks_on_abort

        os.close(2)
        if {errors_go!r} == "to a full disk":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
        with stacks_on_abort():
            print("ready", flush=True)
            threading.Event().wait()
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGABRT)
    assert end(process) == (-signal.SIGABRT, "")


def test_an_abort_of_a_librarys_own_shows_the_call_that_led_to_it() -> None:
    code, errors = end(
        child(
            f"""
            {PYTHON_ABI}
            from alprd.stacks import stacks_on_abort

            def ask_library():
                keeping_the_lock.abort()

            with stacks_on_abort():
                ask_library()
            """
        )
    )
    assert code == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in errors
    assert " in ask_library\n" in errors


def test_what_hangs_while_the_interpreter_ends_is_shown_and_ended_too() -> None:
    process = child(
        f"""
        {PYTHON_ABI}
        import atexit
        from alprd.stacks import stacks_on_abort

        def linger():
            print("lingering", flush=True)
            keeping_the_lock.pause()

        atexit.register(linger)
        with stacks_on_abort():
            pass
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "lingering\n"
    process.send_signal(signal.SIGABRT)
    code, errors = end(process)
    assert code == -signal.SIGABRT
    assert " in linger\n" in errors


def test_a_call_that_keeps_the_interpreters_lock_for_ever_is_named_and_ended() -> None:
    process = child(
        f"""
        {PYTHON_ABI}
        import sys
        from alprd.stacks import HangTimer, stacks_on_abort

        def hang():
            sys.setswitchinterval(1000.0)  # nor does it lose the lock between the two
            keeping_the_lock.write(1, b"hanging\\n", 8)
            keeping_the_lock.pause()

        with stacks_on_abort(), HangTimer(0.5, grace_s=0.5):
            hang()
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n"
    process.send_signal(signal.SIGABRT)  # the watchdog's: there is nobody who could answer it
    code, errors = end(process)
    assert code == -signal.SIGALRM
    assert " in hang\n" in errors


def test_a_loop_that_goes_round_is_left_alone_and_so_is_what_comes_after_it() -> None:
    process = child(
        """
        import time
        from alprd.stacks import HangTimer

        with HangTimer(0.25, grace_s=0.5) as hang_timer:
            for _ in range(24):
                hang_timer.postpone()
                time.sleep(0.05)
        time.sleep(1.2)
        """
    )
    assert end(process) == (0, "")


def test_where_nobody_watches_nothing_is_timed() -> None:
    process = child(
        """
        import time
        from alprd.stacks import HangTimer

        with HangTimer(None, grace_s=0.01) as hang_timer:
            hang_timer.postpone()
            time.sleep(0.3)
        """
    )
    assert end(process) == (0, "")

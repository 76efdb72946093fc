"""Slowdowns, power modes and the clock, as the kernel tells them."""

from __future__ import annotations

from pathlib import Path

from alprd.host.clock import clock_state
from alprd.host.throttling import ThrottleWatch, power_mode


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_machine_that_does_not_tell_is_unknown(tmp_path: Path) -> None:
    assert ThrottleWatch(tmp_path).look() is None
    assert power_mode(tmp_path) is None


def test_an_event_counted_within_the_last_minute_is_a_slowdown(tmp_path: Path) -> None:
    now_s = [0.0]
    write(tmp_path, "sys/class/hwmon/hwmon1/oc3_event_cnt", "41\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "7\n")
    watch = ThrottleWatch(tmp_path, clock=lambda: now_s[0])
    assert watch.look() == {"active": False, "reasons": []}
    write(tmp_path, "sys/class/hwmon/hwmon1/oc3_event_cnt", "42\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "9\n")
    assert watch.look() == {"active": True, "reasons": ["core too hot", "over-current oc3"]}
    now_s[0] = 59.0
    write(tmp_path, "sys/class/hwmon/hwmon1/oc3_event_cnt", "43\n")
    assert watch.look() == {"active": True, "reasons": ["core too hot", "over-current oc3"]}
    now_s[0] = 61.0
    assert watch.look() == {"active": True, "reasons": ["over-current oc3"]}
    now_s[0] = 120.0
    assert watch.look() == {"active": False, "reasons": []}


def test_an_active_throttle_alert_is_a_slowdown_and_a_fan_is_none(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/thermal/cooling_device0/type", "pwm-fan\n")
    write(tmp_path, "sys/class/thermal/cooling_device0/cur_state", "3\n")
    write(tmp_path, "sys/class/thermal/cooling_device1/type", "gpu-throttle-alert\n")
    write(tmp_path, "sys/class/thermal/cooling_device1/cur_state", "0\n")
    watch = ThrottleWatch(tmp_path)
    assert watch.look() == {"active": False, "reasons": []}
    write(tmp_path, "sys/class/thermal/cooling_device1/cur_state", "1\n")
    assert watch.look() == {"active": True, "reasons": ["gpu-throttle-alert"]}


def test_nonsense_in_a_counter_is_no_slowdown(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/hwmon/hwmon1/oc1_event_cnt", "many\n")
    assert ThrottleWatch(tmp_path).look() is None


def test_the_power_mode_has_its_name_where_the_table_knows_it(tmp_path: Path) -> None:
    write(tmp_path, "var/lib/nvpmodel/status", "pmode:0002\n")
    assert power_mode(tmp_path) == {"id": 2, "name": None}
    write(
        tmp_path,
        "etc/nvpmodel.conf",
        "< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=15W >\n",
    )
    assert power_mode(tmp_path) == {"id": 2, "name": "15W"}


def test_the_kernel_says_whether_the_clock_is_kept_right() -> None:
    state = clock_state()
    assert state is None or isinstance(state["synchronised"], bool)
    assert state is None or (state["max_error_s"] is not None) is state["synchronised"]

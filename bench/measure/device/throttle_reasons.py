"""Why a GPU's clock is not higher: the bits of nvmlDeviceGetCurrentClocksEventReasons in words."""

# As numbers: pynvml names the last two only by a prefix that CUDA 14 removes.
EVENTS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}


def events(mask: int) -> list[str]:
    """The words of all bits that are set, sorted; bits that only a newer driver knows have none."""
    return sorted(word for bit, word in EVENTS.items() if mask & bit)

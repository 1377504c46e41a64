"""What the doctor looks at in children of its own, because it may crash, hang or print: torch, drivers, modules, disks."""

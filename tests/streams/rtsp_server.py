"""An RTSP camera: GStreamer's own server plays a clip of JPEG frames. For the Python that has python3-gi.

Run as `python3 rtsp_server.py CLIP [PORT]`; writes its address to stdout.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (its versions are chosen first)

Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[2] if len(sys.argv) > 2 else "0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f"( filesrc location={sys.argv[1]} ! avidemux ! jpegdec ! jpegenc ! rtpjpegpay name=pay0 pt=26 )")
server.get_mount_points().add_factory("/camera", factory)
server.attach(None)
print(f"rtsp://127.0.0.1:{server.get_bound_port()}/camera", flush=True)  # noqa: T201 (it is asked for)
GLib.MainLoop().run()

"""Prints each text frame of a WebSocket on a line of its own, "OPEN" first: watcher.py URL [TOKEN]."""

import asyncio
import sys

import websockets


async def main(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with websockets.connect(url, additional_headers=headers, open_timeout=10) as socket:
        print("OPEN", flush=True)
        async for frame in socket:
            print(frame, flush=True)


asyncio.run(main(*sys.argv[1:]))

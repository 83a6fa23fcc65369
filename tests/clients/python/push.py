"""Pushes this process's own profile with the pyroscope-io SDK: push.py URL SERVICE SECONDS"""

import sys
import time

import pyroscope


def hot_python_function(end):
    total = 0
    while time.monotonic() < end:
        for i in range(10_000):
            total += i * i
    return total


def main():
    url, service, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    pyroscope.configure(
        application_name=service,
        server_address=url,
        sample_rate=100,
        oncpu=True,
        gil_only=True,
        tags={"color": "green"},
    )
    hot_python_function(time.monotonic() + seconds)
    pyroscope.shutdown()
    print("pushed")


main()

"""Records the fixtures of test/oracle/ anew. See README.md beside this file."""

import argparse
from pathlib import Path

import record_networks
from networks import NETWORKS

ROOT = Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["networks", "noise", "gradients"], help="networks, networks/<name>, noise, gradients (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "test" / "oracle", help="folder to write to")
    options = parser.parse_args()
    for part in options.parts:
        kind, _, name = part.partition("/")
        if kind == "networks":
            for network in [name] if name else NETWORKS:
                record_networks.record(network, options.out / "networks")
        elif kind == "noise":
            import record_noise

            record_noise.record(options.out / "noise")
        elif kind == "gradients":
            import record_gradients

            record_gradients.record(options.out / "gradients")
        else:
            parser.error(f"unknown part {part!r}: expected networks, networks/<name>, noise or gradients")


if __name__ == "__main__":
    main()

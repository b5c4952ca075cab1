"""Download a public dataset from Zenodo and unpack it where the other scripts expect it.

tau2020: TAU-NIGENS Spatial Sound Events 2020; ansim, resim, real: TUT Sound Events 2018. The same command continues a
download that was stopped, and does not download again what is already there.
"""

import argparse
import sys
from pathlib import Path

from doatools.data import downloads
from doatools.data.downloads import Part, readable
from doatools.errors import UserError, exits_cleanly

RECORDS = {"tau2020": 4064792, "ansim": 1237703, "resim": 1237707, "real": 1237793}  # on Zenodo
TAU_TO, TUT_TO = Path("datasets/tau2020"), Path("datasets/tut2018")  # default folders

# MD5 of the files of TAU-NIGENS; the pieces of a split archive are in order.
TAU = {
    "foa_dev": {"foa_dev.z01": "86acab46854a57f5ba3e5b80a19c01b5", "foa_dev.z02": "363c8c159be003271c05a71a57b2ced4",
                "foa_dev.zip": "6aad48e7346884b3929245e7553fd97d"},
    "mic_dev": {"mic_dev.z01": "3a2b0986d2a302498cd874d584d17689", "mic_dev.z02": "92f715cb74406d5556bce0fdf27f54e4",
                "mic_dev.zip": "9174daca52f393425120308ab5c14477"},
    "metadata_dev": {"metadata_dev.zip": "979f5551e987ed247404b80a2f1c3db1"},
    "foa_eval": {"foa_eval.zip": "24c6ce2441df242d4e3b61e9bb27d0d7"},
    "mic_eval": {"mic_eval.zip": "bca79b5f71b46e4cb191c54a611348a4"},
    "metadata_eval": {"metadata_eval.zip": "f3584166d9a63b43c1e301b6fb722293"},
}
TAU_RECORDINGS = {"foa_dev": 600, "mic_dev": 600, "foa_eval": 200, "mic_eval": 200}
TAU_RECORDING_BYTES = 60 * 24000 * 4 * 2  # a minute of four channels of 16 bit
# Splits of TUT Sound Events 2018: number in the archives → number in cross-validation.
TUT_SPLITS = {"ansim": {1: 1, 2: 2, 3: 3}, "resim": {1: 1, 2: 2, 3: 3}, "real": {1: 1, 8: 2, 9: 3}}


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="example: python3 download_dataset.py tau2020 --parts foa_dev metadata_dev")
    parser.add_argument("names", nargs="+", metavar="NAME", choices=RECORDS,
                        help=f"one or more of {', '.join(RECORDS)}")
    parser.add_argument("--to", type=Path, metavar="DIR",
                        help=f"tau2020: the dataset's folder (default {TAU_TO}); the others: the folder that holds "
                             f"ansim/, resim/, real/ (default {TUT_TO})")
    parser.add_argument("--parts", nargs="+", choices=TAU, metavar="PART",
                        help=f"parts of tau2020 (default: all; {', '.join(TAU)})")
    parser.add_argument("--server", default=downloads.ZENODO, help=argparse.SUPPRESS)  # for tests
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    names = list(dict.fromkeys(args.names))
    if "tau2020" not in names and args.parts:
        raise UserError("--parts are parts of tau2020")
    if "tau2020" in names and len(names) > 1 and args.to:
        raise UserError("--to has another meaning for tau2020 than for the others; use two commands")
    datasets = [open_dataset(name, args) for name in names]
    for record, root, parts in datasets:
        announce(record, root, parts)
    everything = [part for *_, parts in datasets for part in parts]
    downloads.refuse_full_disk(datasets[0][1], downloads.space_needed(everything))
    for record, root, parts in datasets:
        downloads.fetch_documents(record, root)
        for part in parts:
            downloads.fetch_part(part)
        print(f"{root}: complete")
    if "tau2020" in names:
        print(f"next: python3 batch_feature_extraction.py dataset_dir={args.to or TAU_TO}")
    if len(names) > ("tau2020" in names):
        print(f"next: python3 run.py --config configs/cnn.yaml --data_root {args.to or TUT_TO}")
    return 0


def open_dataset(name, args):
    """(Record, folder, its Parts) of a dataset."""
    record = downloads.read_record(RECORDS[name], args.server.rstrip("/"))
    if name == "tau2020":
        root = args.to or TAU_TO
        return record, root, [tau_part(record, root, part) for part in args.parts or TAU]
    root = (args.to or TUT_TO) / name
    return record, root, [tut_part(record, root, overlap, split, number)
                          for overlap in (1, 2, 3) for split, number in TUT_SPLITS[name].items()]


def tau_part(record, root, name):
    files = tuple(record.file(file, f"md5:{md5}") for file, md5 in TAU[name].items())
    return Part(name, root, files, {name: name}, TAU_RECORDINGS.get(name, 0) * TAU_RECORDING_BYTES)


def tut_part(record, root, overlap, split, number):
    """Audio and annotations of one split and overlap; the split gets another ``number``."""
    places = {f"{kind}_ov{overlap}_split{split}{end}": f"{kind}_ov{overlap}_split{number}{end}"
              for kind, end in (("desc", ""), ("wav", "_30db"))}
    name = f"ov{overlap}_split{split}"
    return Part(name, root, (record.file(f"{name}.zip"),), places)


def announce(record, root, parts):
    """Print what is downloaded, its size and its licence."""
    print(f"{record.title}, {record.page}\nlicence: {record.licence} (see that page for its terms)")
    for part in parts:
        state = readable(part.size) if part.missing() else f"exists, {part.count_files()} files"
        print(f"  {part.name:14}{state}")
    todo = [part for part in parts if part.missing()]
    total, have = sum(part.size for part in todo), sum(part.fetched() for part in todo)
    print(f"to download to {root}: {readable(total - have)}" + (f" ({readable(have)} are there)" if have else "")
          + f"; free space: {readable(downloads.free_space(root))}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

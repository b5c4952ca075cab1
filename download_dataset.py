"""Download a public dataset from Zenodo and unpack it into the layout that the other scripts expect.

    tau2020              TAU-NIGENS Spatial Sound Events 2020
    dcase2021            TAU-NIGENS Spatial Sound Events 2021
    starss22, starss23   Sony-TAu Realistic Spatial Soundscapes 2022 and 2023
    ansim, resim, real   TUT Sound Events 2018
    locata               LOCATA corpus

The same command continues an interrupted download. Complete files are not downloaded again.
"""

import argparse
import re
import sys
from pathlib import Path

from doatools.data import downloads
from doatools.data.downloads import Part, readable
from doatools.errors import UserError, exits_cleanly

# On Zenodo. Sources of the later ones: soundata 1.0.1 (dcase2021), papers that use them (starss22 and starss23, both
# v1.1.0), the challenge's evaluation code (locata, final release).
RECORDS = {"tau2020": 4064792, "ansim": 1237703, "resim": 1237707, "real": 1237793,
           "dcase2021": 5476980, "starss22": 6600531, "starss23": 7880637, "locata": 3630471}
TAU_TO, TUT_TO = Path("datasets/tau2020"), Path("datasets/tut2018")  # default folders
TUT = ("ansim", "resim", "real")

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
# Of the datasets of later years: parts that are fetched where the record lists them (videos are not), and MD5 sums
# known beforehand. Files without one here are compared with the sum that the record lists.
STARSS_PARTS = ("foa_dev", "mic_dev", "metadata_dev", "foa_eval", "mic_eval", "metadata_eval")
LATER = {"dcase2021": STARSS_PARTS, "starss22": STARSS_PARTS, "starss23": STARSS_PARTS, "locata": ("dev", "eval")}
KNOWN = {
    "dcase2021": {"foa_dev.z01": "270a94dc5cd183ea6532c5a3f6e9036c", "foa_dev.zip": "80648b5f64b1b4a824084560f1334f54",
                  "mic_dev.z01": "536a5ba37b0c39f54044932b75acb774", "mic_dev.zip": "a5131297547431160b732a3481626c2d",
                  "metadata_dev.zip": "cd8cd8b4dc9a3e3df91ac55c1ccf73b7",
                  "foa_eval.zip": "591f8d2b500a671ae34822b4ff1e0889",
                  "mic_eval.zip": "3248aef229ab4e0e0603d7c2269f4f97",
                  "metadata_eval.zip": "11c021253c8b55fd74083bd0a35c2ee4"},
    "locata": {"dev.zip": "d5a5417c3f6b2ed0e43581dd06f504e6", "eval.zip": "46709713350bc16c106e788920d30a8b"},
}
# What leads on from a download: more than two or three sources at once are rare.
NEXT = {"tau2020": "22", "dcase2021": "22 format=dcase2021 max_sources=3",
        "starss22": "22 format=starss22 max_sources=3 overflow=drop",
        "starss23": "22 format=starss23 max_sources=3 overflow=drop",
        "locata": "23 format=locata mode=eval max_sources=3 overflow=drop"}
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
                        help=f"folder of the dataset (default datasets/NAME); for {', '.join(TUT)}: the folder "
                             f"of ansim/, resim/ and real/ (default {TUT_TO})")
    parser.add_argument("--parts", nargs="+", choices=list(dict.fromkeys([*TAU, *LATER["locata"]])), metavar="PART",
                        help=f"download only these parts (default: all): {', '.join(TAU)} of tau2020, dcase2021, "
                             f"starss22 and starss23; {', '.join(LATER['locata'])} of locata")
    parser.add_argument("--server", default=downloads.ZENODO, help=argparse.SUPPRESS)  # for tests
    return parser


@exits_cleanly
def main(argv=None):
    args = build_parser().parse_args(argv)
    names = list(dict.fromkeys(args.names))
    alone = [name for name in names if name not in TUT]
    for name in names if args.parts else ():
        wrong = [part for part in args.parts if part not in (TAU if name == "tau2020" else LATER.get(name, ()))]
        if wrong:
            raise UserError(f"--parts are parts of {', '.join(('tau2020', *LATER))}; {name} has no part {wrong[0]}")
    if alone and len(names) > 1 and args.to:
        raise UserError(f"--to has another meaning for {alone[0]} than for the others; use two commands")
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
    for name in alone:
        print(f"next: python3 batch_feature_extraction.py {NEXT[name]} dataset_dir={args.to or folder_of(name)}")
    if len(names) > len(alone):
        print(f"next: python3 run.py --config configs/cnn.yaml --data_root {args.to or TUT_TO}")
    return 0


def open_dataset(name, args):
    """(Record, folder, its Parts) of a dataset."""
    record = downloads.read_record(RECORDS[name], args.server.rstrip("/"))
    if name == "tau2020":
        root = args.to or TAU_TO
        return record, root, [tau_part(record, root, part) for part in args.parts or TAU]
    if name in LATER:
        root = args.to or folder_of(name)
        return record, root, later_parts(record, root, name, args.parts or LATER[name], bool(args.parts))
    root = (args.to or TUT_TO) / name
    return record, root, [tut_part(record, root, overlap, split, number)
                          for overlap in (1, 2, 3) for split, number in TUT_SPLITS[name].items()]


def folder_of(name):
    """Where a dataset goes by default."""
    return TAU_TO if name == "tau2020" else Path("datasets") / name


def later_parts(record, root, name, wanted, all_needed):
    """Parts of a dataset of later years; what the record does not list is an error if ``all_needed``."""
    parts = []
    for part in wanted:
        # Sorted, the pieces of a split archive are in order: .z01, .z02, .zip
        pieces = sorted(file for file in record.files if re.fullmatch(rf"{part}\.(z\d\d|zip)", file))
        if pieces or all_needed:
            sums = KNOWN.get(name, {})
            files = tuple(record.file(file, f"md5:{sums[file]}" if file in sums else None)
                          for file in pieces or [f"{part}.zip"])
            parts.append(Part(part, root, files, {part: part}))
    if not parts:
        raise UserError(f"{record.page} lists none of {', '.join(f'{part}.zip' for part in wanted)} but "
                        f"{', '.join(record.files)}; see in a browser whether the record has changed")
    return parts


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

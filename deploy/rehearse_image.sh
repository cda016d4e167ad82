#!/usr/bin/env bash
# Build both images without a Docker engine and run the main job in them: as user 1000, on a read-only root file system.
#   apt-get install buildah debootstrap
#   sudo deploy/rehearse_image.sh [FOLDER]
# FOLDER takes the base, the layers and the runs (16 GB and more); what it holds already is used again, as Docker's cache would
# be. Without one, a temporary folder is made and removed. Read from the environment:
#   SUITE    release of Debian that the base is made of; default: bookworm
#   MIRROR   Debian mirror for debootstrap; default: debootstrap's own
#   PYTHON   1: the base has Python, like an image python:...; 0: none, like a CUDA image; default: 1
#   TARGETS  images to build; default: "runtime train"
#   MOUNTS   "HOST:CONTAINER ..." files and folders that the build's steps see: pip's configuration, certificates, local packages
#   PASS     "NAME ..." variables of the environment that the build's steps see: PIP_INDEX_URL, PIP_CERT, https_proxy
#   EPOCHS   epochs of the training on the phantom; default: 2
set -euo pipefail

cd "$(dirname "$0")/.."
for program in buildah debootstrap unshare setpriv; do
    command -v "$program" > /dev/null || { echo "$program is missing: apt-get install buildah debootstrap util-linux" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "root is needed, for debootstrap and mounts" >&2; exit 2; }

python=${PYTHON:-1}
targets=${TARGETS:-runtime train}
work=${1:-$(mktemp --directory /var/tmp/wcr-med-images.XXXXXX)}
mkdir -p "$work"
work=$(cd "$work" && pwd)
grep -qw overlay /proc/filesystems && driver=overlay || driver=vfs # vfs copies every layer whole

bud() { buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" "$@"; }

clean() {
    # A kept FOLDER keeps its images; containers, which hold mounts, always go.
    bud rm --all > /dev/null 2>&1 || true
    if [ "$given" = 0 ]; then
        bud rmi --all --force > /dev/null 2>&1 || true
        ! mountpoint -q "$work/storage/overlay" || umount "$work/storage/overlay"
        rm -rf --one-file-system "$work"
    fi
}
given=$#
trap clean EXIT

make_base() {
    local packages=ca-certificates rootfs=$work/rootfs-$1 container
    [ "$1" = 0 ] || packages+=,python3,python3-venv
    rm -rf "$rootfs"
    debootstrap --variant=minbase --include="$packages" "${SUITE:-bookworm}" "$rootfs" ${MIRROR:+"$MIRROR"}
    rm -rf "$rootfs"/var/cache/apt/archives/*.deb "$rootfs"/var/lib/apt/lists/*
    container=$(bud from scratch)
    bud add --quiet "$container" "$rootfs" /
    bud commit --quiet --rm "$container" "localhost/base-$1"
    rm -rf "$rootfs"
}

build() {
    local target=$1 options=() mount name
    for mount in ${MOUNTS:-}; do options+=(--volume "$mount:ro"); done
    for name in ${PASS:-}; do [ -z "${!name+set}" ] || options+=(--env "$name"); done
    bud bud --isolation chroot --layers --format oci --target "$target" --tag "localhost/wcr-med:$target" \
        --build-arg BASE="localhost/base-$python" \
        --build-arg COMMIT="$(git rev-parse HEAD 2> /dev/null || echo unknown)" \
        --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
        "${options[@]}" .
}

# in_image TARGET COMMAND...: what `docker run --read-only --user 1000:1000 --tmpfs /tmp --volume WORK/data:/data:ro
# --volume WORK/runs:/runs` does, with the environment and the folder that the image names.
in_image() {
    local target=$1 container root status=0 variables=()
    shift
    container=$(bud from --pull-never "localhost/wcr-med:$target")
    root=$(bud mount "$container")
    mapfile -t variables < <(bud inspect --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$container" | grep .)
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --net --fork --kill-child bash -euc '
        root=$1 work=$2 folder=$3
        shift 3
        mount --bind "$root" "$root"
        mkdir -p "$root/data" "$root/runs"
        mount --bind "$work/data" "$root/data"
        mount --bind "$work/runs" "$root/runs"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=755 tmpfs "$root/dev"
        for device in null zero random urandom; do touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"; done
        mkdir -m 1777 "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        ln -s /proc/self/fd "$root/dev/fd"
        mount -o remount,bind,ro "$root/data"
        mount -o remount,bind,ro "$root"
        exec setpriv --no-new-privs chroot --userspec=1000:1000 --groups= "$root" \
            env -C "$folder" -i "$@"
    ' bash "$root" "$work" /home/wcr "${variables[@]}" "$@" || status=$?
    bud rm "$container" > /dev/null
    return "$status"
}

size() {
    bud images --format '{{.Name}}:{{.Tag}} {{.Size}}' | grep -F "wcr-med:$1"
}

bud inspect --type image "localhost/base-$python" > /dev/null 2>&1 || make_base "$python"
mkdir -p "$work/data" "$work/runs"
chown 1000:1000 "$work/data" "$work/runs"

for target in $targets; do
    SECONDS=0
    build "$target"
    echo "== $target: built in $SECONDS s, $(size "$target")"
    # shellcheck disable=SC2016 # expanded in the image
    in_image "$target" sh -euc 'test "$(id -u)" = 1000; touch /tmp/file; ! touch /var/tmp/file 2> /dev/null'
done

if [[ " $targets " == *" train "* ]]; then
    in_image train wcr-med run --config configs/phantom.yaml --set training.epochs="${EPOCHS:-2}" --out runs/rehearsal
    echo "== train: the main job ran"
fi
if [[ " $targets " == *" runtime "* ]] && [ -e "$work/runs/rehearsal/export/pruned-90.onnx" ]; then
    patient=$(basename "$(find "$work/runs/phantom/kaggle_3m" -mindepth 1 -maxdepth 1 -type d | sort | head -n 1)")
    in_image runtime wcr-med infer /runs/rehearsal/export/pruned-90.onnx "/runs/phantom/kaggle_3m/$patient" -o /runs/masks
    find "$work/runs/masks" -type f | grep -q . || { echo "infer wrote no mask" >&2; exit 1; }
    echo "== runtime: infer segmented $patient"
fi
in_image runtime python -c 'import importlib.util as i; assert i.find_spec("torch") is None; import wcr_med.native as n; assert n.is_available()'

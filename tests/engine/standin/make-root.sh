#!/bin/sh
# make-root.sh SUITE PACKAGES FOLDER: root.tar of a Debian and docker-compose, the static program that `docker compose`
# is, into FOLDER. To be run in a mount namespace of its own: what it mounts goes with that, however it ends.
set -eu
suite=$1 packages=$2 folder=$3
root=$folder/root
mkdir "$root"
# In memory: dpkg waits for the disk after each file.
mount -t tmpfs -o size=2g,mode=755 none "$root"
debootstrap --variant=minbase --include="$packages" "$suite" "$root"
chroot "$root" sh -c 'cd /tmp && apt-get -q download docker-compose && dpkg -x ./*.deb x'
cp "$root/tmp/x/usr/libexec/docker/cli-plugins/docker-compose" "$folder"
rm -rf "$root"/tmp/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
tar --create --numeric-owner --file="$folder/root.tar" --directory="$root" --exclude='./proc/*' --exclude='./sys/*' .
umount -R "$root"
rmdir "$root"

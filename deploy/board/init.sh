#!/bin/busybox sh
# The first program on an emulated board: finds the disk, and starts what is on it.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
tries=0
while [ ! -b /dev/@DISK@ ] && [ $tries -lt 60 ]; do
    /bin/busybox sleep 1
    tries=$((tries + 1))
done
/bin/busybox mount -t ext4 -o rw,noatime /dev/@DISK@ /root
/bin/busybox umount /proc /sys
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init

#!/bin/sh
# Runs on an emulated board, from a fresh system to a purge of the package. Says BOARD PASSED or BOARD FAILED at the end.
set -eu
cd /opt/board
HEARD=/run/heard
CARD='Loopback: PCM (hw:0,1)'

now() { cut -d' ' -f1 /proc/uptime; }
say() { echo "board: $(now) s: $*"; }
trap '[ $? = 0 ] || { systemctl status --no-pager -l wakepulse || :; journalctl -b --no-pager -u wakepulse -n 30 || :
      cat $HEARD || :; echo "BOARD FAILED"; }' EXIT

wait_for() { # seconds, what, command...
    limit=$1 what=$2 tries=0
    shift 2
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt $((2 * limit)) ]; then
            say "not within $limit s: $what"
            exit 1
        fi
        sleep 0.5
    done
    say "$what"
}
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }
count() { grep -c "^$1" $HEARD || :; }
more() { [ "$(count "$1")" -gt "$2" ]; }
last() { [ "$(grep '^wakepulse/board/availability' $HEARD | tail -n 1)" = "wakepulse/board/availability $1" ]; }
property() { systemctl show --property "$1" --value wakepulse; }
restarted() { [ "$(property NRestarts)" -gt "$1" ] && [ "$(property ActiveState)" = active ]; }
files() { find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /var/cache \
    -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd \) -prune -o -print | sort; }
speaks() { # plays the recording until the word is told to the broker
    before=$(count hermes/hotword/@WORD@/detected)
    aplay -q -D hw:0,0 recording.wav
    wait_for 20 "the broker was told of @WORD@" more hermes/hotword/@WORD@/detected "$before"
}

say "up: $(uname -m), $(sed -n 's/^model name.*: //p; s/^CPU part.*: /part /p' /proc/cpuinfo | head -n 1), $(free -m | awk '/Mem/ { print $2 }') MB"
modprobe snd-aloop
wait_for 20 "a sound card" test -e /dev/snd/pcmC0D1c
wait_for 60 "a broker" mosquitto_pub -t test -m test
files >/run/files.before
mosquitto_sub -v -t 'hermes/#' -t 'wakepulse/+/availability' >$HEARD &

begun=$(now)
sh install.sh
say "installed within $(since "$begun") s: $(du -sk /usr/lib/wakepulse | cut -f1) kB in its folder"
sh install.sh
systemctl is-enabled wakepulse
[ "$(property ActiveState)" = inactive ] # nobody has configured it

cat >/etc/wakepulse/satellite.yaml <<YAML
site_id: board
audio: {device: "$CARD"}
wake: {model: six_words.int8.plan}
YAML
begun=$(now)
systemctl start wakepulse
say "ready $(since "$begun") s after its start"
wait_for 30 "it is online" last online
speaks
pid=$(property MainPID)
grep -E 'VmHWM|VmRSS|RssAnon|RssFile|Threads' /proc/"$pid"/status
ticks() { awk '{ print $14 + $15 }' /proc/"$pid"/stat; }
first=$(ticks)
sleep 20
say "takes $(awk -v t="$(($(ticks) - first))" 'BEGIN { printf "%.1f", t / 20 }') % of this processor"

say "killing it"
kill -9 "$pid"
wait_for 90 "started anew" restarted 0
wait_for 60 "it is online" last online
speaks

say "the sound card freezes: a player takes it at another rate"
aplay -q -D hw:0,0 -t raw -f S16_LE -r 48000 -c 2 -d 12 /dev/zero &
player=$!
wait_for 30 "it is offline" last offline
wait $player
wait_for 60 "it is online" last online
[ "$(property NRestarts)" = 1 ]
speaks

say "the satellite itself freezes"
kill -STOP "$(property MainPID)"
wait_for 120 "started anew" restarted 1
wait_for 60 "it is online" last online
speaks

begun=$(now)
systemctl stop wakepulse
took=$(since "$begun")
say "stopped within $took s"
[ "$(property Result)" = success ] || [ "$(property Result)" = "" ]
awk -v t="$took" 'BEGIN { exit !(t <= 2) }'
wait_for 5 "it is offline" last offline

say "a configuration that cannot be used"
cp /etc/wakepulse/satellite.yaml /run/satellite.yaml
echo 'nonsense: 1' >>/etc/wakepulse/satellite.yaml
systemctl start wakepulse || :
wait_for 30 "given up, status $(property ExecMainStatus)" test "$(property ActiveState)" = failed
[ "$(property ExecMainStatus)" = 78 ]
cp /run/satellite.yaml /etc/wakepulse/satellite.yaml

say "an upgrade"
dpkg -i ./wakepulse_*.deb
cmp /run/satellite.yaml /etc/wakepulse/satellite.yaml
wait_for 60 "it is online" last online
speaks

say "removal"
apt-get remove -y -q wakepulse
wait_for 5 "it is offline" last offline
files >/run/files.removed
diff /run/files.before /run/files.removed | grep '^[<>]' | grep -v -E ' /(etc/wakepulse|var/lib/wakepulse)(/satellite.yaml)?$' && exit 1
say "purge"
apt-get purge -y -q wakepulse
files >/run/files.purged
diff /run/files.before /run/files.purged
! getent passwd wakepulse
say "nothing is left"
echo "BOARD PASSED"
systemctl poweroff --no-block

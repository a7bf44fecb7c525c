#!/bin/sh
# Runs on an emulated board, from a fresh system to a purge of the package. Says BOARD PASSED or BOARD FAILED at the end.
set -eu
cd /opt/board
HEARD=/run/heard
CARD=hw:0,1 # the other end of the loopback at which recordings are played
KEPT=' /(etc/wakepulse(/satellite.yaml)?|var/lib/wakepulse(/[a-z.]*)?|var/lib/dpkg/info/wakepulse[.a-z]*)$' # after removal

now() { cut -d' ' -f1 /proc/uptime; }
say() { echo "board: $(now) s: $*"; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }
trap '[ $? = 0 ] || {
    set +e
    systemctl --no-pager show wakepulse -p ActiveState,SubState,Result,NRestarts,ExecMainStatus
    journalctl -b --no-pager -o cat -u wakepulse -u mosquitto -n 40
    cat $HEARD
    echo "BOARD FAILED"
}' EXIT

wait_for() { # seconds, what, command...
    limit=$1 what=$2 begun=$(now)
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$(since "$begun" | cut -d. -f1)" -ge "$limit" ]; then
            say "not within $limit s: $what"
            exit 1
        fi
        sleep 0.5
    done
    say "$what"
}
heard() { grep -c "^hermes/hotword/@WORD@/detected" $HEARD || :; }
more() { [ "$(heard)" -gt "$1" ]; }
last() { [ "$(grep '^wakepulse/board/availability' $HEARD | tail -n 1)" = "wakepulse/board/availability $1" ]; }
property() { systemctl show --property "$1" --value wakepulse; }
restarted() { [ "$(property NRestarts)" -gt "$1" ] && [ "$(property ActiveState)" = active ]; }
failed() { [ "$(property ActiveState)" = failed ]; }
files() { find /usr /etc /home /root /opt /var -xdev | sort; }
at_most() { awk -v most="$1" -v found="$2" 'BEGIN { exit !(found <= most) }'; }
speaks() { # plays the recording until the word is told to the broker
    before=$(heard)
    aplay -q -D hw:0,0 recording.wav
    wait_for 20 "the broker was told of @WORD@" more "$before"
}

processor=$(sed -n 's/^model name.*: //p; s/^CPU part.*: /part /p' /proc/cpuinfo | head -n 1)
say "up: $(uname -m), $processor, $(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MB"
modprobe snd-aloop pcm_notify=1
wait_for 20 "a sound card" test -e /dev/snd/pcmC0D1c
wait_for 60 "a broker" mosquitto_pub -t test -m test
files >/run/files.before
stdbuf -oL mosquitto_sub -v -t 'hermes/#' -t 'wakepulse/+/availability' >$HEARD &

# What an owner does.
begun=$(now)
sh install.sh
size=$(du -sk /usr/lib/wakepulse | cut -f1)
say "installed within $(since "$begun") s, $size kB"
at_most 12288 "$size"
sh install.sh
systemctl is-enabled wakepulse
[ "$(property ActiveState)" = inactive ] # nobody has said yet what it shall be
number=$(wakepulse devices | grep -m 1 -n "($CARD)" | cut -d: -f1)
printf '%s\n' board "$number" y localhost 1883 - '@WORD@' | wakepulse setup && exit 1 # as nobody speaks, it finds fault
say "set up"
wait_for 60 "it is online" last online
speaks
systemctl stop wakepulse

begun=$(now)
systemctl start wakepulse
took=$(since "$begun")
say "ready $took s after its start"
at_most 12 "$took"
wait_for 60 "it is online" last online
speaks
pid=$(property MainPID)
grep -E 'VmHWM|VmRSS|RssAnon|RssFile|Threads' /proc/"$pid"/status
[ "$(uname -m)" != armv6l ] || at_most 32768 "$(awk '/VmRSS/ { print $2 }' /proc/"$pid"/status)"
ticks() { awk '{ print $14 + $15 }' /proc/"$pid"/stat; }
first=$(ticks)
sleep 20
say "takes $(awk -v t="$(($(ticks) - first))" 'BEGIN { printf "%.1f", t / 20 }') % of this processor"

say "killing it"
kill -9 "$pid"
wait_for 90 "started anew" restarted 0
wait_for 60 "it is online" last online
speaks

say "the microphone is unplugged"
echo snd_aloop.0 >/sys/bus/platform/drivers/snd_aloop/unbind & # which takes until nobody holds it
wait_for 30 "it is offline" last offline
wait $!
echo snd_aloop.0 >/sys/bus/platform/drivers/snd_aloop/bind
wait_for 60 "it is online" last online
[ "$(property NRestarts)" = 1 ]
speaks

say "the sound card freezes"
python3 freeze.py "$(property MainPID)" &
wait_for 120 "started anew" restarted 1
wait $!
wait_for 60 "it is online" last online
speaks

say "the satellite itself freezes"
kill -STOP "$(property MainPID)"
wait_for 120 "started anew" restarted 2
wait_for 60 "it is online" last online
speaks

begun=$(now)
systemctl stop wakepulse
took=$(since "$begun")
say "stopped within $took s"
at_most 2 "$took"
wait_for 5 "it is offline" last offline

say "a configuration that cannot be used"
cp /etc/wakepulse/satellite.yaml /run/satellite.yaml
echo 'nonsense: 1' >>/etc/wakepulse/satellite.yaml
systemctl start wakepulse || :
wait_for 60 "given up" failed
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
diff /run/files.before /run/files.removed | grep wakepulse | grep -v -E "$KEPT" && exit 1
say "purge"
apt-get purge -y -q wakepulse
files >/run/files.purged
diff /run/files.before /run/files.purged | grep wakepulse && exit 1
if getent passwd wakepulse; then exit 1; fi
say "nothing is left"
echo "BOARD PASSED"
systemctl poweroff --no-block

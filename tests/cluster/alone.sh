#!/bin/sh
# Runs a command with no network but a loopback of its own, and with mounts and process numbers of its
# own: what it starts listens where nobody else can reach it, and ends with it. The second address is
# there since getaddrinfo, asked for addresses in use, does not count 127.0.0.1, and SLURM asks like that.
exec unshare --net --pid --mount --fork --kill-child --mount-proc \
    sh -c 'ip link set lo up && ip address add 127.0.0.2/8 dev lo && "$@"' alone "$@"

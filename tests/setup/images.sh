# The images of tests and examples, made from files of this machine: no registry is asked. Sourced.
#
# Here: `images` loads them into the engine behind `dk`; `busybox_tree` and `redis_tree` make a root
# directory from the static busybox and from the files of the redis-server package; `traefik_image` makes an image of
# one program.
# Tags: constellation-test/busybox:1, constellation/hello:1, constellation/web:1, constellation/redis:1,
# traefik:v3.7.15 (where TRAEFIK and TRAEFIK_VERSION are set);
# in the registry: team/busybox:1 and :2 (open), team/secret:1 (private), not on the engine.

busybox_tree() { # busybox_tree DIR [BINARY]: bin/* as links to one static busybox, /tmp, /etc
  local dir=$1 binary=${2:-/bin/busybox} applet
  mkdir -p "$dir/bin" "$dir/tmp" "$dir/etc" "$dir/www"
  chmod 1777 "$dir/tmp"
  cp "$binary" "$dir/bin/busybox"
  for applet in $("$binary" --list); do
    [ "$applet" = busybox ] || ln -sf busybox "$dir/bin/$applet"
  done
  echo 'root:x:0:0:root:/:/bin/sh' >"$dir/etc/passwd"
  echo 'root:x:0:' >"$dir/etc/group"
}

redis_tree() { # redis_tree DIR: redis-server and redis-cli with the libraries they load
  local dir=$1 binary library
  busybox_tree "$dir"
  mkdir -p "$dir/usr/bin" "$dir/data"
  for binary in redis-server redis-cli; do
    # redis-server is a link to redis-check-rdb: -L copies what it points to.
    cp -L "$(command -v $binary)" "$dir/usr/bin/$binary"
    for library in $(ldd "$(command -v $binary)" | grep -o '/[^ ]*\.so[^ ]*'); do
      mkdir -p "$dir$(dirname "$library")"
      cp -L "$library" "$dir$library"
    done
  done
}

traefik_image() { # traefik_image PROGRAM TAG: nothing else is in it, and it starts with that program
  tar -C "$(dirname "$1")" --owner=0 --group=0 -c "$(basename "$1")" |
    dk import -c "ENTRYPOINT [\"/$(basename "$1")\"]" - "$2" >/dev/null
}

import() { # import DIR TAG [CHANGE...]: an image of one layer
  local dir=$1 tag=$2 changes=() change
  shift 2
  for change in "$@"; do changes+=(-c "$change"); done
  tar -C "$dir" --owner=0 --group=0 -c . | dk import "${changes[@]}" - "$tag" >/dev/null
}

images() {
  local work=$LAB/images
  rm -rf "$work"
  mkdir -p "$work"
  busybox_tree "$work/busybox"
  import "$work/busybox" constellation-test/busybox:1 'CMD ["sh"]' 'ENV PATH=/usr/bin:/bin'
  redis_tree "$work/redis"
  import "$work/redis" constellation/redis:1 'CMD ["redis-server"]' 'ENV PATH=/usr/bin:/bin' 'EXPOSE 6379' 'WORKDIR /data'
  [ -z "${TRAEFIK:-}" ] || traefik_image "$TRAEFIK" "traefik:v$TRAEFIK_VERSION"
  local example
  for example in hello web; do
    DOCKER_BUILDKIT=0 dk build -q --build-arg BASE=constellation-test/busybox:1 -t "constellation/$example:1" \
      "$ROOT/examples/$example" >/dev/null
  done
  local tag
  for tag in 1 2; do
    printf 'FROM constellation-test/busybox:1\nLABEL test.version=%s\n' "$tag" |
      DOCKER_BUILDKIT=0 dk build -q -t "127.0.0.1:5000/team/busybox:$tag" - >/dev/null
    push "127.0.0.1:5000/team/busybox:$tag"
  done
  echo open-sesame | dk login -u captain --password-stdin 127.0.0.1:5001 >/dev/null 2>&1
  dk tag constellation-test/busybox:1 127.0.0.1:5001/team/secret:1
  push 127.0.0.1:5001/team/secret:1
  dk logout 127.0.0.1:5001 >/dev/null 2>&1
  rm -rf "$work"
}

push() { # and forget it locally: a pull is a real one
  dk push -q "$1" >/dev/null
  dk rmi "$1" >/dev/null
}

#!/bin/sh
# Holds the program against the labelled captures that lie beside the project (../shared); says so and ends well where there are none.
set -eu
bin=$1
shared=../shared
if [ ! -d "$shared/captures" ]; then
    echo "scores: no $shared/captures here, nothing to hold the program against"
    exit 0
fi
score() { python3 "$shared/tools/score.py" "$@" --bin "$bin"; }
score flows --set "$shared/captures" --verbose \
    --need protocol_recall=0.995 --need protocol_macro_recall=0.99 --need protocol_precision=0.999 --need tls_version=1 --need sni=0.99 \
    --need initiator=0.99 --need outcome=0.98 --need unsummed=0
score audit --set "$shared/captures/lab" --verbose --need scenarios_exact=1 --need false_alarms=0
score robust --set "$shared/captures" --need crashed=0 --need hung=0 --need silent=0 --need unsummed=0

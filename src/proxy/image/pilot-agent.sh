#!/bin/sh
# pilot-agent: the sidecar's entry point under the name Istio gives it.
#   proxy sidecar|router ... run the data plane
#   istio-iptables ...       redirect the pod's traffic to it, by nftables
#   wait                     return once the proxy has its configuration
#   request METHOD PATH      ask the proxy's admin interface
set -eu

redirect() {
  outbound=15001 inbound=15006 uid=1337 exclude_cidrs= exclude_in= exclude_out= include_ports= include_out='*' include_in='*'
  while [ $# -gt 0 ]; do
    case $1 in
      -p) outbound=$2 ;;
      -z) inbound=$2 ;;
      -u) uid=$2 ;;
      -x) exclude_cidrs=$2 ;;
      -d) exclude_in=$2 ;;
      -o) exclude_out=$2 ;;
      -i) include_out=$2 ;;
      -b) include_in=$2 ;;
      -q) include_ports=$2 ;;
      -m) ;;
      *) echo "pilot-agent: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
  done
  out_rules= in_rules=
  [ -z "$exclude_cidrs" ] || out_rules="ip daddr { $exclude_cidrs } return"
  case $exclude_out in ''|none) ;; *) out_rules="$out_rules
    tcp dport { $exclude_out } return" ;; esac
  [ -z "$exclude_in" ] || in_rules="tcp dport { $exclude_in } return"
  case $include_out in
    '*') out_all="meta l4proto tcp redirect to :$outbound" ;;
    '') out_all= ;;
    *) out_all="ip daddr { $include_out } meta l4proto tcp redirect to :$outbound" ;;
  esac
  [ -z "$include_ports" ] || out_rules="$out_rules
    tcp dport { $include_ports } redirect to :$outbound"
  case $include_in in
    '*') in_all="meta l4proto tcp redirect to :$inbound" ;;
    '') in_all= ;;
    *) in_all="tcp dport { $include_in } redirect to :$inbound" ;;
  esac
  nft -f - <<RULES
table ip istio
delete table ip istio
table ip istio {
  chain output {
    type nat hook output priority -100; policy accept;
    meta skuid $uid return
    meta skgid $uid return
    oifname "lo" ip daddr 127.0.0.0/8 return
    ip daddr 127.0.0.1 return
    $out_rules
    $out_all
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "lo" return
    $in_rules
    $in_all
  }
}
RULES
}

case ${1:-} in
  proxy)
    cd /opt/sampan
    shift
    exec node --max-semi-space-size=4 --v8-pool-size=1 --max-old-space-size=512 --disable-warning=ExperimentalWarning proxy.mjs "$@"
    ;;
  istio-iptables)
    shift
    redirect "$@"
    ;;
  wait)
    i=0
    until curl -sf -o /dev/null -m 1 http://127.0.0.1:15021/healthz/ready; do
      i=$((i + 1))
      [ $i -lt 600 ] || { echo 'pilot-agent: the proxy is not ready' >&2; exit 1; }
      sleep 0.05
    done
    ;;
  request)
    path=${3:-}
    exec curl -s -X "${2:-GET}" "http://127.0.0.1:15000/${path#/}"
    ;;
  *)
    echo "usage: pilot-agent proxy|istio-iptables|wait|request" >&2
    exit 2
    ;;
esac

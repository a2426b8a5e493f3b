#!/bin/sh
# An agent without Python: it registers with a node, asks another agent, waits for the answer, and leaves.
#
#     sh agent.sh http://127.0.0.1:7700 painter '{"title": "A harbour"}'
set -eu
node=$1 whom=$2 question=$3
me=shell-$$

post() { # post PATH BODY: the answer, or an end with what the node says
    curl --silent --show-error --fail-with-body --noproxy '*' -H 'Content-Type: application/json' -d "$2" "$node$1"
}

post /registry/register \
    "{\"instance_id\": \"$me\", \"hostname\": \"localhost\", \"port\": 0, \"capabilities\": [], \"agent_profiles\": []}" \
    >/dev/null
trap 'curl --silent --noproxy "*" -X DELETE "$node/registry/deregister/$me"' EXIT

post "/messages/send/$me" \
    "{\"target_instance\": \"$whom\", \"message_type\": \"Query\", \"payload\": $question, \"correlation_id\": \"$me-1\"}" \
    >/dev/null

# Each round is a heartbeat and a long poll: without a heartbeat for 15 s the mesh takes this agent for gone.
while :; do
    post "/registry/heartbeat/$me" '{"status": "waiting", "metrics": null}' >/dev/null
    answer=$(curl --silent --show-error --fail-with-body --noproxy '*' "$node/messages/$me?wait=5&limit=1")
    id=$(printf '%s' "$answer" | sed -n 's/.*"message_id":"\([^"]*\)".*/\1/p')
    [ -z "$id" ] || break
done
printf '%s\n' "$answer" | sed 's/.*"payload":\(.*\),"correlation_id".*/\1/'
post "/messages/ack/$me" "{\"message_ids\": [\"$id\"]}"

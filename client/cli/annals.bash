# Completion of annals(1) for bash.
_annals() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local common='--server --token --timeout --quiet --help' words= command=${COMP_WORDS[1]:-} sub=${COMP_WORDS[2]:-}
	case $previous in
	--output) words='ndjson table raw' ;;
	--format) words='ndjson binary' ;;
	--durability) words='fsync os' ;;
	--from) words='earliest latest' ;;
	esac
	if [ -z "$words" ] && [ "$COMP_CWORD" -eq 1 ]; then
		words='append transact read consume topic group schema webhook offsets dump load status torture --help --version'
	elif [ -z "$words" ] && [ "$COMP_CWORD" -eq 2 ] && [ "$command" = topic ]; then
		words='create list show update delete'
	elif [ -z "$words" ] && [ "$COMP_CWORD" -eq 2 ] && [ "$command" = offsets ]; then
		words='show commit list'
	elif [ -z "$words" ] && [ "$COMP_CWORD" -eq 2 ] && [ "$command" = schema ]; then
		words='register list show check delete'
	elif [ -z "$words" ] && [ "$COMP_CWORD" -eq 2 ] && [ "$command" = webhook ]; then
		words='create list show test pause resume delete'
	elif [ -z "$words" ] && [ "$COMP_CWORD" -eq 2 ] && [ "$command" = group ]; then
		words='create list show seek parked delete explain leave'
	elif [ -z "$words" ] && [[ $current == -* ]]; then
		case $command in
		append) words='--type --source --key --data --content-type --id --subject --time --partition --json --http' ;;
		transact) words='--expect --idempotency-key --quiet' ;;
		consume) words='--group --exec --member --lease --limit --drain --by-offset' ;;
		group)
			case $sub in
			create) words='--lease --attempts --unlimited --backoff --no-backoff --backoff-max --pass --latest' ;;
			seek) words='--topic --partition --dry-run' ;;
			parked) words='--dry-run' ;;
			delete) words='--yes' ;;
			esac
			;;
		read) words='--from --partition --follow --limit --last --backwards --type --type-prefix --subject --key --tag --output --json --schema-version --http' ;;
		topic)
			case $sub in
			create | update) words='--partitions --retention-age --retention-bytes --retention-events --durability --event-bytes-max --streams' ;;
			delete) words='--yes' ;;
			esac
			;;
		schema)
			words=--http
			case $sub in
			register) words+=' --file --refuse-broken-readers' ;;
			list) words+=' --deleted' ;;
			show) words+=' --format' ;;
			check) words+=' --level --topic --partition --offset' ;;
			delete) words+=' --permanent --yes' ;;
			esac
			;;
		webhook)
			words=--http
			case $sub in
			create) words+=' --group --secret-file --no-handshake --type --type-prefix --subject --key --tag --binary --timeout-each --concurrency --rate --attempts --backoff --backoff-max --latest' ;;
			delete) words+=' --yes' ;;
			esac
			;;
		offsets) words='--metadata' ;;
		dump) words='--format --resume' ;;
		torture) words='--dir --annalsd --rounds --seconds --seed --producers --readers --tails --committers --writers --members --sequencers --browsers --mixers --handlers --kill-points --keep' ;;
		load) words='--partitions --resume' ;;
		esac
		words+=" $common"
	elif [ -z "$words" ]; then
		# Topics where one is expected; files otherwise.
		case $command:$sub:$COMP_CWORD in
		append:*:2 | consume:*:2 | read:*:2 | dump:*:2 | load:*:2 | topic:show:3 | topic:update:3 | topic:delete:3 | offsets:*:4)
			words=$(annals topic list --timeout 500ms 2>/dev/null | tail -n +2 | cut -f1)
			;;
		group:show:3 | group:seek:3 | group:parked:3 | group:delete:3 | group:explain:3 | group:leave:3 | offsets:show:3 | offsets:commit:3) words=$(annals offsets list --timeout 500ms 2>/dev/null) ;;
		*)
			mapfile -t COMPREPLY < <(compgen -f -- "$current")
			return
			;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _annals annals

# May run again if it was interrupted.
cd "$dir" 2> /dev/null || exit 0
if read -r group < group; then
  # With `-KILL --`, dash takes the dashes for a number.
  kill -s KILL -- "-$group"
  tries=0
  while kill -s 0 -- "-$group" && [ "$tries" -lt 100 ]; do tries=$((tries + 1)) && sleep 0.05; done
fi 2> /dev/null

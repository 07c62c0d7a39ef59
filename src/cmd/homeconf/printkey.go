package main

import (
	"fmt"
	"io"

	"homeconf/src/calls"
)

func printBackup(w io.Writer, r calls.BackupResult) {
	fmt.Fprintf(w, "The recovery file is %s; devices in it: %d.\n", safe(r.File), r.Devices)
	if r.Passphrase != "" {
		fmt.Fprintf(w, "\n    %s\n\nThis is its passphrase. Write it down now: it is shown this once, and without it the file is of no use.\n", safe(r.Passphrase))
	}
	fmt.Fprintln(w, "Keep both off the router, and not together.")
}

func printKey(w io.Writer, r calls.KeyResult) {
	var f facts
	f.add("home", r.Home)
	f.add("term", fmt.Sprint(r.Term))
	if r.Former != "" {
		f.add("former key", join(r.Former, "kept until "+since(r.FormerUntil)))
	}
	f.print(w)
	waited(w, "These have not got the present key yet; they get it when they come back:", r.Awaited)
	waited(w, "These have not come back since the home was restored:", r.Missing)
}

func waited(w io.Writer, head string, l []calls.KeyDevice) {
	if len(l) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", head)
	for _, d := range l {
		fmt.Fprintln(w, "  "+safe(join(d.Name, string(d.ID))))
	}
}

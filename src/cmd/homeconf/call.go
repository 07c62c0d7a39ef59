package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"homeconf/src/calls"
)

// request is a call as it stands on a command line.
type request struct {
	call   *calls.Call
	args   calls.Args
	json   bool
	runDir string
}

// runCall makes one call and prints what comes back.
func runCall(c *calls.Call, words []string, stdout, stderr io.Writer) int {
	req, err := parseCall(c, words)
	switch {
	case errors.Is(err, errHelp):
		printCallHelp(stdout, c)
		return exitDone
	case err == nil:
		err = readContents(&req)
	}
	if err != nil {
		command := strings.Join(c.Words, " ")
		fmt.Fprintf(stderr, "homeconf %s: %s\nUsage: homeconf %s (more: `homeconf help %s`)\n",
			command, safe(err.Error()), synopsis(c), command)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var result json.RawMessage
	if err := calls.Do(ctx, calls.SocketPath(req.runDir, c.Daemon), c.Name, req.args, &result); err != nil {
		if req.json {
			printJSON(stdout, map[string]any{"error": calls.Error{Code: calls.CodeOf(err), Message: err.Error()}})
		}
		fmt.Fprintf(stderr, "homeconf %s: %s\n", strings.Join(c.Words, " "), safe(err.Error()))
		return exitFailed
	}
	if req.json {
		err = printJSON(stdout, result)
	} else {
		// In one write, so that a pager or a pipe sees it whole.
		var b bytes.Buffer
		if err = printers[c.Name](&b, result); err == nil {
			_, err = stdout.Write(b.Bytes())
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "homeconf %s: print the answer: %s\n", strings.Join(c.Words, " "), safe(err.Error()))
		return exitFailed
	}
	return exitDone
}

// parseCall reads the words after a call's own. Flags and positional arguments
// may come in any order; after "--" all are positional. All errors are told at
// once.
func parseCall(c *calls.Call, words []string) (request, error) {
	req := request{call: c, args: calls.Args{}, runDir: defaultRunDir}
	given, places, err := parseFlags(words, func(name string) (known, isSwitch bool) {
		for i := range c.Args {
			if a := &c.Args[i]; a.Flag() == name && !a.Positional {
				return true, a.Kind == calls.Bool
			}
		}
		return name == "json" || name == "run-dir", name == "json"
	})
	if err != nil {
		return req, err
	}
	if dir, ok := given["run-dir"]; ok {
		req.runDir = dir
	}
	var errs []string
	if text, ok := given["json"]; ok {
		if req.json, err = strconv.ParseBool(text); err != nil {
			errs = append(errs, "--json takes no value but true and false")
		}
	}
	for i := range c.Args {
		a := &c.Args[i]
		text, ok := given[a.Flag()]
		if a.Positional && len(places) > 0 {
			text, ok, places = places[0], true, places[1:]
		}
		switch {
		case ok:
			if a.Content {
				req.args[a.Name] = text // read once all else is right
				continue
			}
			if a.Path && text != "" {
				if whole, err := filepath.Abs(text); err == nil {
					text = whole
				}
			}
			v, err := a.Parse(text)
			if err != nil {
				errs = append(errs, err.Error())
				continue
			}
			req.args[a.Name] = v
		case a.Required && a.Positional:
			errs = append(errs, a.Value+" is missing")
		case a.Required:
			errs = append(errs, "--"+a.Flag()+" is missing")
		}
	}
	if len(places) > 0 {
		errs = append(errs, fmt.Sprintf("%.40q is too much", places[0]))
	}
	if len(errs) > 0 {
		return req, errors.New(strings.Join(errs, "; "))
	}
	return req, nil
}

// maxContent bounds what an argument reads of a file.
const maxContent = 4 << 10

// readContents takes the first line of the files that hold arguments. Errors
// hold nothing of it.
func readContents(req *request) error {
	for i := range req.call.Args {
		a := &req.call.Args[i]
		name, given := req.args[a.Name].(string)
		if !a.Content || !given {
			continue
		}
		in := os.Stdin
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		line, err := bufio.NewReader(io.LimitReader(in, maxContent)).ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		v, err := a.Parse(strings.TrimRight(line, "\r\n"))
		if err != nil {
			return err
		}
		req.args[a.Name] = v
	}
	return nil
}

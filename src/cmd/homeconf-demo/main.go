// Command homeconf-demo plays homeconf's main scene in network namespaces, with
// the real daemons, and takes each step's proof from outside homeconf. It is
// never installed.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"homeconf/src/lab"
)

// playTime bounds a run: a scene that hangs has failed.
const playTime = 60 * time.Second

func main() {
	if missing := lab.Missing(slices.Sorted(maps.Keys(lab.Programs))...); len(missing) > 0 {
		fmt.Fprintln(os.Stderr, "homeconf-demo:", strings.Join(missing, "; "))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Getenv("HOMECONF"), os.Getenv("KEEP") == "1"); err != nil {
		fmt.Fprintln(os.Stderr, "\nhomeconf-demo: FAILED:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, keep bool) (err error) {
	if binary == "" {
		return errors.New("the path of the homeconf binary is missing: HOMECONF=bin/homeconf")
	}
	l, err := lab.New("demo")
	if err != nil {
		return err
	}
	defer func() {
		if closed := l.Close(); err == nil {
			err = closed
		}
	}()
	p := &play{lab: l, binary: binary, began: time.Now()}
	scenes, cancel := context.WithTimeout(ctx, playTime)
	defer cancel()
	for _, scene := range []func(context.Context) error{p.theHome, p.newBox, p.letIn, p.picture, p.plainBox, p.story, p.sixteen} {
		if err := scene(scenes); err != nil {
			p.logs()
			return err
		}
	}
	p.say("Every proof holds. It took %.1f s.", time.Since(p.began).Seconds())
	if keep {
		p.playground()
		<-ctx.Done()
	}
	return nil
}

package sighting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"homeconf/src/rtnetlink"
)

const (
	// gather is how long events are gathered before a look: one device that
	// comes makes several, and a flood makes thousands.
	gather = 50 * time.Millisecond
	// again is the pause before the kernel's events are subscribed to anew.
	again = 250 * time.Millisecond
	// netlinkBuffer holds the events of a bridge that learns a whole home.
	netlinkBuffer = 256 << 10
)

// Watch tells all that is seen, now and whenever it has changed, until ctx ends.
// It waits for events of the kernel and of the lease file's folder, and does
// nothing while there are none.
func Watch(ctx context.Context, c Config, tell func([]Evidence)) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	event := make(chan struct{}, 1)
	poke := func() {
		select {
		case event <- struct{}{}:
		default:
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	if c.Bus != nil {
		c.heard = &heard{all: map[heardKey]heardEvidence{}}
		h := c.heard
		g.Go(func() error {
			if err := watchBus(ctx, c, h, poke); err != nil && ctx.Err() == nil {
				c.Log.Warn("devices are seen without what ubus tells", "err", err)
			}
			return nil
		})
	}
	ready := make(chan struct{}, 2)
	g.Go(func() error { return watchKernel(ctx, c, poke, ready) })
	if c.LeaseFile != "" {
		g.Go(func() error { return watchFile(ctx, c, poke, ready) })
	} else {
		ready <- struct{}{}
	}
	g.Go(func() error {
		// Look only once events are being heard, so that none is missed.
		for range 2 {
			select {
			case <-ctx.Done():
				return nil
			case <-ready:
			}
		}
		return report(ctx, c, event, tell)
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("watch for devices: %w", err)
	}
	return nil
}

// report looks at each event, after a while, and tells what is new.
func report(ctx context.Context, c Config, event <-chan struct{}, tell func([]Evidence)) error {
	var last []Evidence
	told := false
	for {
		now, err := Collect(ctx, c)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			// The next event brings another look.
			c.Log.Error("devices can't be looked for", "err", err)
		case !told || !slices.Equal(now, last):
			last, told = now, true
			tell(slices.Clone(now))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-event:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gather):
		}
		select { // what came meanwhile is in the look that follows
		case <-event:
		default:
		}
	}
}

// watchKernel pokes on each change of neighbours, stations and links. When the
// kernel had more to say than the buffer holds, it subscribes anew and pokes.
func watchKernel(ctx context.Context, c Config, poke func(), ready chan<- struct{}) error {
	first := true
	for ctx.Err() == nil {
		err := hearKernel(ctx, func() {
			if first {
				ready <- struct{}{}
				first = false
			}
		}, poke)
		if ctx.Err() != nil {
			return nil
		}
		if first || errors.Is(err, os.ErrPermission) {
			return err
		}
		c.Log.Debug("events of the kernel were lost", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
		poke()
	}
	return nil
}

func hearKernel(ctx context.Context, started, poke func()) error {
	done := make(chan struct{})
	neigh, link := make(chan netlink.NeighUpdate, 64), make(chan netlink.LinkUpdate, 64)
	errs := make(chan error, 2)
	failed := func(err error) {
		select {
		case errs <- err:
		default:
		}
	}
	if err := rtnetlink.SubscribeNeighbors(neigh, done, failed, netlinkBuffer); err != nil {
		close(done)
		return fmt.Errorf("subscribe to neighbours: %w", err)
	}
	if err := rtnetlink.Subscribe(link, done, failed, netlinkBuffer); err != nil {
		close(done)
		for range neigh { // until the subscription has ended
		}
		return fmt.Errorf("subscribe to links: %w", err)
	}
	started()
	stop := context.AfterFunc(ctx, func() { close(done) })
	defer func() {
		if stop() {
			close(done)
		}
		for range neigh {
		}
		for range link {
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-neigh:
			if !ok {
				return lost(errs)
			}
			poke()
		case _, ok := <-link:
			if !ok {
				return lost(errs)
			}
			poke()
		}
	}
}

func lost(errs <-chan error) error {
	select {
	case err := <-errs:
		return err
	default:
		return errors.New("subscription ended")
	}
}

// watchFile pokes when the lease file is written or replaced. The folder is
// watched for the file that comes into its place, whose own watch ended with the
// old file; and the file for what is written into it.
func watchFile(ctx context.Context, c Config, poke func(), ready chan<- struct{}) error {
	w, err := newFileWatch(c.LeaseFile)
	if err != nil {
		// Without leases everything else is seen.
		c.Log.Warn("leases can't be watched", "file", c.LeaseFile, "err", err)
		ready <- struct{}{}
		return nil
	}
	ready <- struct{}{}
	stop := context.AfterFunc(ctx, func() { w.close() })
	defer func() {
		if stop() {
			w.close()
		}
	}()
	for {
		ours, err := w.next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			c.Log.Warn("leases are not watched any more", "file", c.LeaseFile, "err", err)
			return nil
		}
		if ours {
			poke()
		}
	}
}

const (
	folderEvents = unix.IN_MOVED_TO | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM
	fileEvents   = unix.IN_MODIFY | unix.IN_CLOSE_WRITE
)

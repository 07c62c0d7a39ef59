package link

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"homeconf/src/rtnetlink"
)

const (
	// keepPause is the first wait after a failure that no link event
	// explains; it doubles up to keepPauseMax, and starts again after a port
	// was of use for keepPauseMax.
	keepPause    = time.Millisecond
	keepPauseMax = time.Second
	// keepGrace is what Use has to say goodbye over the port when it is told
	// to end. Then the port closes, so that a Receive that blocks returns.
	keepGrace = 400 * time.Millisecond
)

// Keeper says what Keep keeps open, and for whom.
type Keeper struct {
	Interface string
	Options   Options
	// Use works with the port and returns when its context is done or when
	// the port answers ErrDown. The port is closed for it.
	Use func(context.Context, Port) error
	// Log may be nil.
	Log *slog.Logger
}

// Keep waits until the interface exists and is up, opens it, calls Use, and
// begins again when the interface went down or away, be it that another one of
// the same name takes its place. It returns nil when ctx is done or Use is
// content, and an error when Use fails otherwise, or when opening can't ever
// succeed: for want of rights, or because the interface is no Ethernet. All is
// done in the calling goroutine's network namespace. Nothing ticks.
func Keep(ctx context.Context, k Keeper) error {
	if k.Log == nil {
		k.Log = slog.New(slog.DiscardHandler)
	}
	k.Log = k.Log.With("interface", k.Interface)
	pause := keepPause
	for ctx.Err() == nil {
		began := time.Now()
		err := k.watched(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrPermission), errors.Is(err, ErrNotEthernet), errors.Is(err, errUse):
			return err
		}
		// ErrDown, or something that passes: no memory, too many files, more
		// link events than the socket held.
		k.Log.Debug("interface lost", "error", err)
		if time.Since(began) > keepPauseMax {
			pause = keepPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, keepPauseMax)
	}
	return nil
}

// errUse marks an error that is Use's own.
var errUse = errors.New("port not usable")

// useError passes an error of Use on as it is, but known as one.
type useError struct{ error }

func (e useError) Unwrap() error        { return e.error }
func (e useError) Is(target error) bool { return target == errUse }

// errEvents says that link events were lost.
var errEvents = errors.New("link events ended")

// watched waits for the interface, and uses it once.
func (k *Keeper) watched(ctx context.Context) error {
	// Subscribe first, look then: no change falls between.
	done := make(chan struct{})
	events := make(chan netlink.LinkUpdate, 16)
	err := rtnetlink.Subscribe(events, done, func(err error) { k.Log.Debug("link event not read", "error", err) }, 0)
	if err != nil {
		return fmt.Errorf("subscribe to link events: %w", err)
	}
	defer func() {
		close(done)
		go func() { // its reader ends once nothing holds it up
			for range events {
			}
		}()
	}()

	l, err := k.wait(ctx, events)
	if err != nil || ctx.Err() != nil {
		return err
	}
	port, err := open(k.Interface, k.Options)
	if err != nil {
		return err
	}
	defer port.Close()
	if port.deaf {
		k.Log.Warn("discovery group not joined, broadcast is used")
	}
	k.Log.Info("interface opened", "mac", net.HardwareAddr(l.HardwareAddr).String(), "mtu", port.MTU())

	ended := make(chan struct{})
	defer close(ended)
	go func() {
		defer port.fail()
		for {
			select {
			case <-ended:
				return
			case u, ok := <-events:
				if !ok || !stays(u, l) {
					return
				}
				if a := u.Attrs(); u.IfInfomsg.Index == int32(l.Index) && len(a.HardwareAddr) == 6 {
					port.set(MAC(a.HardwareAddr), a.MTU)
				}
			}
		}
	}()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-ended:
		case <-time.After(keepGrace):
			port.Close()
		}
	})
	defer stop()

	err = k.Use(ctx, port)
	switch {
	case port.down.Load():
		return fmt.Errorf("use interface %s: %w", k.Interface, ErrDown)
	case err == nil, errors.Is(err, ErrDown):
		return err
	}
	return useError{err}
}

// wait waits until the interface can carry frames.
func (k *Keeper) wait(ctx context.Context, events <-chan netlink.LinkUpdate) (*netlink.LinkAttrs, error) {
	for {
		l, err := (*rtnetlink.Socket)(nil).Link(k.Interface)
		switch {
		case err == nil && running(l.Attrs()):
			return l.Attrs(), nil
		case err != nil && !errors.Is(err, rtnetlink.ErrNoLink):
			return nil, fmt.Errorf("look at interface %s: %w", k.Interface, err)
		}
		k.Log.Debug("waiting for interface")
		if err := k.mentioned(ctx, events); err != nil || ctx.Err() != nil {
			return nil, err
		}
	}
}

// mentioned waits for an event of our interface.
func (k *Keeper) mentioned(ctx context.Context, events <-chan netlink.LinkUpdate) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, ok := <-events:
			if !ok {
				return errEvents
			}
			if u.Attrs().Name == k.Interface {
				return nil
			}
		}
	}
}

// running says whether an interface is up and has a carrier (RFC 2863's
// operational state up or unknown, which is what IFF_RUNNING says).
func running(a *netlink.LinkAttrs) bool {
	const want = unix.IFF_UP | unix.IFF_RUNNING
	return a.RawFlags&want == want
}

// stays says whether the interface is still what it was when it was opened.
func stays(u netlink.LinkUpdate, l *netlink.LinkAttrs) bool {
	a := u.Attrs()
	switch {
	case u.IfInfomsg.Family == unix.AF_BRIDGE:
		return true // of a bridge's port; it says as much when it leaves the bridge
	case u.IfInfomsg.Index != int32(l.Index):
		return a.Name != l.Name // another one took the name
	case u.Header.Type == unix.RTM_DELLINK, a.Name != l.Name:
		return false
	}
	return running(a)
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"homeconf/src/calls"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/options"
	"homeconf/src/session"
	"homeconf/src/system"
	"homeconf/src/system/netlink"
	"homeconf/src/wire"
)

// Config is what an agent is made of. The last three are filled in with the
// real thing where they are empty.
type Config struct {
	ConfigDir string // UCI files, normally /etc/config
	StateDir  string // key, home and settings, normally /etc/homeconf
	RunDir    string // the socket; empty: none
	Interface string // empty: what UCI says
	Bus       string // ubusd's socket; empty: where it usually is; calls.NoBus: there is none
	Version   string
	LogLevel  *slog.LevelVar
	Log       *slog.Logger
	Reload    <-chan struct{}
	Step      func(name string) // for crash tests

	// StrandAfter is for how long home must be silent before a device with
	// fixed settings looks for a lease; 0: ten minutes.
	StrandAfter time.Duration

	Device   system.Device
	Link     func(ctx context.Context, use func(context.Context, link.Port) error) error
	Announce func(ctx context.Context, addr netip.Addr) error
}

// Agent is one device's. All fields below events belong to its loop.
type Agent struct {
	cfg   Config
	log   *slog.Logger
	files files
	key   session.PrivateKey
	count *session.Counters
	begun time.Time
	ctx   context.Context
	wg    sync.WaitGroup
	hands hands
	speak speaking

	events chan func()

	life    uint64 // raised by a reset: what an earlier life began is void
	work    context.Context
	endWork context.CancelFunc
	opts    *options.Options
	keep    kept
	peer    *session.Peer
	since   time.Time
	digits  session.Digits
	linkUp  bool
	mac     model.MAC
	problem string

	change  change
	reports reports
	lease   leasing
	silent  silence

	outdated bool // the home that speaks has an older term than one heard before
}

// eventQueue bounds what waits for the loop: an agent has one peer.
const eventQueue = 256

var errBusy = errors.New("the agent is busy")

// New opens an agent's state.
func New(cfg Config) (*Agent, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Step == nil {
		cfg.Step = func(string) {}
	}
	opts, err := options.Load(cfg.ConfigDir)
	if err != nil {
		return nil, fmt.Errorf("reading the options: %w", err)
	}
	if cfg.Interface == "" {
		cfg.Interface = opts.Agent.Interface
	}
	a := &Agent{cfg: cfg, log: cfg.Log, files: files{cfg.StateDir}, count: &session.Counters{}, opts: opts,
		events: make(chan func(), eventQueue), hands: make(hands, 1), keep: kept{Version: stateVersion}}
	var said string
	if a.key, said, err = a.files.openKey(); err != nil {
		return nil, err
	}
	a.note(said)
	a.useLevel()
	k, said, err := load(a.files.state(), checkKept)
	if err != nil {
		return nil, err
	}
	a.note(said)
	if k != nil {
		a.keep = *k
	}
	if a.key.IsZero() {
		// The home does not know the key that is made now: it is a stranger's,
		// and the home must be found as one. The settings stay until then.
		if a.keep.Pin != nil {
			a.keep.Pin = nil
			if err := store(a.files.state(), a.keep); err != nil {
				return nil, err
			}
		}
		if a.key, err = a.files.makeKey(); err != nil {
			return nil, err
		}
	}
	p, said, err := load(a.files.pending(), checkPending)
	if err != nil {
		return nil, err
	}
	a.note(said)
	a.change.found = p
	if err := a.fillIn(); err != nil {
		return nil, err
	}
	return a, a.renewSession()
}

// note keeps what went wrong where a person will look for it.
func (a *Agent) note(problem string) {
	if problem != "" {
		a.problem = problem
		a.log.Error(problem)
	}
}

func (a *Agent) fillIn() error {
	if a.cfg.Device == nil {
		d, err := netlink.Open(netlink.Config{Interface: a.cfg.Interface, ResolvConf: a.opts.Agent.ResolvConf, RunDir: a.cfg.RunDir, Log: a.log})
		if err != nil {
			return fmt.Errorf("opening the device: %w", err)
		}
		a.cfg.Device = d
	}
	if a.cfg.Link == nil {
		k := link.Keeper{Interface: a.cfg.Interface, Log: a.log,
			Options: link.Options{EtherType: wire.EtherType, Groups: []link.MAC{link.MAC(wire.Group)}}}
		a.cfg.Link = func(ctx context.Context, use func(context.Context, link.Port) error) error {
			k.Use = use
			return link.Keep(ctx, k)
		}
	}
	if a.cfg.Announce == nil {
		a.cfg.Announce = a.announce
	}
	return nil
}

// Run is New and Run in one, again whenever options change that everything was
// opened with.
func Run(ctx context.Context, cfg Config) error {
	for {
		a, err := New(cfg)
		if err != nil {
			return err
		}
		err = a.Run(ctx)
		if d, ours := a.cfg.Device.(io.Closer); ours && cfg.Device == nil {
			d.Close()
		}
		if !errors.Is(err, errAgain) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// Run does an agent's work until ctx ends, and then returns nil.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	a.ctx, a.begun = ctx, time.Now()
	a.newWork()
	defer func() { a.endWork() }()
	g.Go(func() error {
		// What a crash left half done is put right before anybody is heard.
		a.findLease()
		a.restore()
		g.Go(func() error { return a.cfg.Link(ctx, a.serveLink) })
		g.Go(func() error { return a.cfg.Device.Watch(ctx, func() { a.surely(a.deviceChanged) }) })
		a.loop(ctx)
		return nil
	})
	g.Go(func() error { return a.reloadOnDemand(ctx) })
	if a.cfg.RunDir != "" {
		g.Go(func() error {
			return calls.Serve(ctx, calls.SocketPath(a.cfg.RunDir, calls.Agent), calls.Agent, a.Call)
		})
		g.Go(func() error { calls.ServeBus(ctx, a.cfg.Bus, calls.Agent, a.Call, a.log); return nil })
	}
	err := g.Wait()
	a.wg.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a *Agent) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-a.events:
			f()
		}
	}
}

// tell hands something to the loop; false when too much is waiting.
func (a *Agent) tell(f func()) bool {
	select {
	case a.events <- f:
		return true
	default:
		return false
	}
}

// surely hands something to the loop, waiting for room.
func (a *Agent) surely(f func()) {
	select {
	case a.events <- f:
	case <-a.ctx.Done():
	}
}

// beside does what takes time outside the loop, and then tells it.
func (a *Agent) beside(f func(ctx context.Context) func()) {
	a.wg.Go(func() {
		a.surely(f(a.ctx))
	})
}

// newWork begins the context of what changes the device.
func (a *Agent) newWork() { a.work, a.endWork = context.WithCancel(a.ctx) }

// changing is beside for what changes the device for the commit: one at a
// time, and what a reset made void is not told.
func (a *Agent) changing(f func(ctx context.Context) func()) {
	a.change.busy = true
	life, work := a.life, a.work
	a.beside(func(context.Context) func() {
		then := f(work)
		return func() {
			if a.life == life {
				a.change.busy = false
				then()
			}
		}
	})
}

// after has the loop do f when d has passed. Deadlines are monotonic: setting
// the clock moves none.
func (a *Agent) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { a.surely(f) })
}

func (a *Agent) pinned(p session.Pin) error {
	a.cfg.Step("pin.begin")
	k := a.keep
	k.Pin = filed(p)
	if err := store(a.files.state(), k); err != nil {
		a.note("the home can't be stored: " + err.Error())
		return err
	}
	a.keep = k
	a.cfg.Step("pin.stored")
	a.log.Info("this device belongs to a home now", "home", p.Home.String())
	return nil
}

func (a *Agent) opened(p *session.Peer) {
	a.peer, a.since, a.outdated = p, time.Now(), false
	a.reports.last = nil
	a.reportNow()
	a.homeBack()
}

func (a *Agent) closed(p *session.Peer, err error) {
	if a.peer == p {
		a.peer = nil
		a.log.Info("the home is not heard any more", "why", err)
		a.listen()
	}
}

func (a *Agent) received(p *session.Peer, m wire.Message) {
	if a.peer != p {
		return
	}
	if keep, ok := m.(wire.Keep); ok {
		a.keepFor(keep)
		return
	}
	if a.outdated {
		a.log.Info("message of a home of an older term was passed over", "type", m.Type())
		return
	}
	switch m := m.(type) {
	case wire.Rotate:
		a.rotate(m)
	case wire.Configure:
		a.configure(m)
	case wire.Confirm:
		a.confirm(m)
	case wire.Retire:
		a.letGo(m)
	default:
		a.log.Debug("message that an agent takes no notice of", "type", m.Type())
	}
}

func (a *Agent) send(m wire.Message) {
	if a.peer == nil {
		return
	}
	if err := a.peer.Send(m); err != nil {
		a.log.Info("message was not sent", "type", m.Type(), "err", err)
	}
}

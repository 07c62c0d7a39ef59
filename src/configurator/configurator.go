package configurator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"homeconf/src/calls"
	"homeconf/src/gateway"
	"homeconf/src/inventory"
	"homeconf/src/link"
	"homeconf/src/model"
	"homeconf/src/options"
	"homeconf/src/plan"
	"homeconf/src/session"
	"homeconf/src/sighting"
	"homeconf/src/ubus"
)

// Config is what a configurator is made of. Fields below Step are filled in
// with the real thing where they are empty; tests put an in-memory one there.
type Config struct {
	ConfigDir string // UCI files, normally /etc/config
	StateDir  string // the home's key and database, normally /etc/homeconf
	RunDir    string // the socket, normally /var/run/homeconf
	Interface string // LAN bridge; empty: what UCI says
	Bus       string // ubusd's socket; empty: where it usually is; calls.NoBus: there is none
	Version   string
	LogLevel  *slog.LevelVar
	Log       *slog.Logger
	Reload    <-chan struct{} // read the options again

	// Step is told of every point between two steps at which a crash would
	// leave something half done; nil outside crash tests.
	Step func(name string)

	RollbackFile string // LuCI's snapshot of the network; empty: where rpcd has it

	FS        inventory.FS // under the database; nil: the disk
	Gateway   gateway.Gateway
	Link      func(ctx context.Context, use func(context.Context, link.Port) error) error
	Prober    Prober
	Sightings func(ctx context.Context, tell func([]sighting.Evidence)) error
}

// Prober asks the LAN who has an address.
type Prober interface {
	// Probe asks for all addresses at once, without claiming any (RFC 5227, 2.1.1).
	Probe(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]model.MAC, error)
	// Resolve asks who has one address that should be in use.
	Resolve(ctx context.Context, addr netip.Addr) (model.MAC, error)
	// Watch tells of every address heard in use.
	Watch(ctx context.Context, heard func(netip.Addr, model.MAC)) error
}

// Configurator is one home's. All fields below box belong to its loop.
type Configurator struct {
	cfg   Config
	log   *slog.Logger
	home  *home
	store *inventory.Store
	count *session.Counters
	resp  *session.Responder
	since time.Time
	ctx   context.Context // of Run: what is started beside the loop ends with it
	wg    errgroup.Group

	bus   *ubus.Client     // nil: this is no OpenWrt
	notes chan model.Event // to be told on ubus
	iface string           // the LAN's device

	box *mailbox

	opts     *options.Options
	profiles map[string]model.Profile
	peers    map[model.DeviceID]*member
	waiting  map[model.DeviceID]*waiting
	seen     map[model.DeviceID]*model.Record // without an agent, and not set up
	window   *window
	findings *findings
	probes   *probes
	linkUp   bool
	problem  string // why nobody is adopted

	net       model.Network
	plan      plan.Plan
	checks    map[model.DeviceID][]model.Check
	work      work
	lan       *lan
	tries     patience
	refused   map[model.DeviceID]refusal
	asks      map[model.DeviceID]*asked
	mending   map[model.DeviceID]bool // strays that wait for their next time
	batch     batch
	coming    map[model.DeviceID]time.Time // let in, and not reported yet
	late      *time.Timer                  // writes what may be lost
	mc        multicast
	given     map[netip.Addr]given
	conflicts map[netip.Addr]*time.Timer // that end the finding
	contested map[netip.Addr]bool        // that our device has to leave
	moved     map[model.DeviceID]time.Time
	drifts    map[model.DeviceID]string // what was changed at a device, as last told
	retiring  *time.Timer               // goes on with the devices that leave
	leave     *leaving                  // the home is being left; nil otherwise

	keeping   keeping
	restoring bool // another home has taken this one's place on disk

	// Not of the loop.
	members memberSet
	inbox   inbox
	arp     arpHeard
	ending  chan error // why Run ends, other than that its context does
}

var (
	// errOff says that an option turns the configurator off.
	errOff = errors.New("turned off by option enabled")
	// errAgain says that everything has to be opened anew.
	errAgain = errors.New("options name another interface or network")
)

// New opens a configurator's state and makes it ready to Run. It changes
// nothing on the gateway or on the network.
func New(cfg Config) (*Configurator, error) {
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
	if !opts.Configurator.Enabled {
		return nil, errOff
	}
	c := &Configurator{
		cfg: cfg, log: cfg.Log, box: newMailbox(), notes: make(chan model.Event, maxNotes), count: &session.Counters{},
		peers: map[model.DeviceID]*member{}, waiting: map[model.DeviceID]*waiting{}, seen: map[model.DeviceID]*model.Record{},
		findings: newFindings(), probes: newProbes(), checks: map[model.DeviceID][]model.Check{},
		conflicts: map[netip.Addr]*time.Timer{}, contested: map[netip.Addr]bool{}, moved: map[model.DeviceID]time.Time{}, ending: make(chan error, 1),
		drifts: map[model.DeviceID]string{},
	}
	c.box.rest = c.storeBatch
	c.work.init()
	c.mending = map[model.DeviceID]bool{}
	c.tries, c.refused, c.asks = patience{}, map[model.DeviceID]refusal{}, map[model.DeviceID]*asked{}
	c.useOptions(opts)
	var founded bool
	if c.home, founded, err = openHome(cfg.StateDir); err != nil {
		return nil, err
	}
	var broken []model.Finding
	if c.store, broken, err = inventory.Open(cfg.StateDir, storeOn(cfg.FS)...); err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	c.note("store", broken)
	if c.lan, err = openLAN(cfg.StateDir); err != nil {
		c.log.Error("the LAN's earlier subnet is not known", "err", err)
	}
	if founded {
		c.tell("home.founded", "", "configurator", "This home was founded: a home key was made.")
	}
	for _, r := range c.store.All() {
		if (r.State == model.DeviceAdopted || r.State == model.DeviceRetired) && r.Key != nil {
			c.members.add(session.PublicKey(*r.Key))
		}
	}
	if err := c.beginAnew(); err != nil {
		return nil, err
	}
	if err := c.openRoster(broken); err != nil {
		return nil, err
	}
	c.openBus()
	c.iface = c.findInterface()
	if err := c.fillIn(); err != nil {
		c.closeBus()
		return nil, err
	}
	c.resp, err = session.NewResponder(session.ResponderConfig{
		Key: c.home.key, DiscoveryKey: c.home.discovery, Instance: c.home.instance, Term: c.home.term,
		Member: c.members.has, Returns: c.members.away, Former: c.home.before(), Ways: c.ways, Code: c.members.codes,
		Handler: heard{c}, Log: c.log, Counters: c.count,
	})
	if err != nil {
		c.closeBus()
		return nil, fmt.Errorf("making the responder: %w", err)
	}
	return c, nil
}

// Run does a configurator's work until ctx ends, and then returns nil.
func (c *Configurator) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	c.ctx, c.since = ctx, time.Now()
	c.box.tell(c.begin)
	g.Go(func() error { c.box.run(ctx); return nil })
	g.Go(func() error { return c.cfg.Link(ctx, c.serveLink) })
	g.Go(func() error {
		return c.cfg.Sightings(ctx, func(e []sighting.Evidence) { c.box.tell(func() { c.sighted(e) }) })
	})
	g.Go(func() error {
		return c.cfg.Gateway.Watch(ctx, func(what string) { c.box.tell(func() { c.gatewayChanged(what) }) })
	})
	g.Go(func() error { return c.serveBus(ctx) })
	g.Go(func() error { c.reloadOnDemand(ctx); return nil })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case why := <-c.ending:
			return why
		}
	})
	if c.cfg.RunDir != "" {
		g.Go(func() error {
			return calls.Serve(ctx, filepath.Join(c.cfg.RunDir, string(calls.Configurator)+".sock"), calls.Configurator, c.Call)
		})
	}
	err := g.Wait()
	c.wg.Wait()
	if flushed := c.store.Flush(); flushed != nil {
		err = errors.Join(err, fmt.Errorf("storing what was left: %w", flushed))
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Run is New and Run in one, and again where new options ask for that.
func Run(ctx context.Context, cfg Config) error {
	for {
		c, err := New(cfg)
		if err == nil {
			err = c.Run(ctx)
		}
		switch {
		case errors.Is(err, errAgain) && ctx.Err() == nil:
		case errors.Is(err, errAgain):
			return nil
		case errors.Is(err, errOff):
			if cfg.Log != nil {
				cfg.Log.Warn("configurator does nothing", "reason", errOff)
			}
			return nil
		default:
			return err
		}
	}
}

// serveLink is called each time that the LAN is there.
func (c *Configurator) serveLink(ctx context.Context, p link.Port) error {
	c.box.tell(func() { c.linkUp = true; c.touch() })
	defer c.box.tell(func() { c.linkUp = false })
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); c.watchAddresses(ctx) }()
	defer func() { cancel(); <-watched }()
	return c.resp.Run(ctx, p)
}

// beside runs f outside the loop and then tells the loop what came of it.
func (c *Configurator) beside(f func(ctx context.Context) func()) {
	c.wg.Go(func() error {
		then := f(c.ctx)
		if c.ctx.Err() == nil && !c.box.tell(then) {
			c.log.Error("result of our own work was lost", "err", errBusy)
		}
		return nil
	})
}

// after has the loop do f when d has passed.
func (c *Configurator) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		if c.ctx.Err() == nil {
			c.box.tell(f)
		}
	})
}

func (c *Configurator) reloadOnDemand(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-c.cfg.Reload:
			if !ok {
				return
			}
			opts, err := options.Load(c.cfg.ConfigDir)
			c.box.tell(func() { c.reloaded(opts, err) })
		}
	}
}

// reloaded takes new options over; ones with an error are refused whole and the
// old ones stay, with a finding that says what is wrong.
func (c *Configurator) reloaded(opts *options.Options, err error) {
	if err != nil {
		c.log.Error("options were not read again", "err", err)
		c.note("options", []model.Finding{{Kind: "options.invalid",
			Text: "The settings can't be taken over, so the earlier ones stay in force: " + strings.ReplaceAll(err.Error(), "\n", "; "),
			Step: fmt.Sprintf("Correct %s, and have it read again (SIGHUP, or /etc/init.d/homeconf reload).", filepath.Join(c.cfg.ConfigDir, "homeconf"))}})
		return
	}
	c.note("options", nil)
	if model.Same(opts, c.opts) {
		// The firewall's include asks for this whenever the firewall was
		// reloaded: what is missing is put back, and nobody hears of it.
		c.touch()
		return
	}
	c.tell("options.read", "", "person", "The settings were read again.")
	switch {
	case !opts.Configurator.Enabled:
		c.end(errOff)
		return
	case opened(opts) != opened(c.opts):
		c.end(errAgain)
		return
	}
	c.useOptions(opts)
	c.personActed()
	c.touch()
}

// opened are the options that sockets and the gateway were opened with.
func opened(o *options.Options) [5]string {
	g := o.Configurator
	return [...]string{g.Interface, g.LANNetwork, g.WANNetwork, g.IPTVNetwork, g.ReloadCommand}
}

func (c *Configurator) end(why error) {
	select {
	case c.ending <- why:
	default: // it ends already
	}
}

func (c *Configurator) useOptions(o *options.Options) {
	c.opts = o
	if c.cfg.LogLevel != nil {
		var level slog.Level
		if err := level.UnmarshalText([]byte(o.Configurator.LogLevel)); err == nil { // the table takes no other
			c.cfg.LogLevel.Set(level)
		}
	}
	c.profiles = profilesOf(o)
	c.members.setWay(o.Configurator.Pairing)
}

// gatewayChanged is told that somebody changed the gateway: the pass finds out
// what that means for the home.
func (c *Configurator) gatewayChanged(what string) {
	c.log.Debug("the gateway was changed", "what", what)
	c.touch()
}

// begin is the first thing that the loop does: a crash may have left the
// gateway anywhere, so it is looked at before anybody calls.
func (c *Configurator) begin() {
	c.watchFormer()
	c.sealSoon()
	c.touch()
	c.retireOn()
	c.after(absentLook, c.lookForAbsent)
}

// tell writes one line of history.
func (c *Configurator) tell(kind string, id model.DeviceID, cause, text string, detail ...string) {
	c.happened(model.Event{Device: id, Kind: kind, Cause: cause, Text: text, Detail: detail})
}

// tellChange is tell for a decision, which a person may take back.
func (c *Configurator) tellChange(kind string, id model.DeviceID, cause, text string, changes ...model.Change) {
	c.happened(model.Event{Device: id, Kind: kind, Cause: cause, Text: text, Changes: changes})
}

// happened writes one line of history.
func (c *Configurator) happened(e model.Event) {
	e.Time = time.Now()
	c.log.Info(e.Text, "event", e.Kind, "device", string(e.Device))
	var err error
	if e, err = c.store.Append(e); err != nil {
		c.log.Error("history was not stored", "err", err)
	}
	c.notify(e)
}

// note replaces what one source has found.
func (c *Configurator) note(source string, found []model.Finding) {
	raised, cleared := c.findings.set(source, time.Now(), found)
	for _, f := range raised {
		c.tell("finding.raised", f.Device, source, f.Text, f.Step)
	}
	for _, f := range cleared {
		c.tell("finding.cleared", f.Device, source, "No longer so: "+f.Text)
	}
}

// put stores records and says so when that fails: the work goes on in memory.
func (c *Configurator) put(records ...*model.Record) error {
	return c.stored(c.store.PutAll(records))
}

// require stores a record or leaves it as it was: what a person was told can't
// be done must not happen later.
func (c *Configurator) require(r *model.Record) error {
	return c.stored(c.store.Require(r))
}

func (c *Configurator) stored(err error) error {
	if err != nil {
		c.log.Error("database was not written", "err", err)
		c.note("disk", []model.Finding{{Kind: "store.full",
			Text: fmt.Sprintf("The database can't be written: %v", err),
			Step: "Make room on the router's flash; until then what is learned is lost at a restart."}})
		return err
	}
	c.note("disk", nil)
	c.sealSoon()
	return nil
}

func storeOn(f inventory.FS) []inventory.Option {
	if f == nil {
		return nil
	}
	return []inventory.Option{inventory.WithFS(f)}
}

package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"homeconf/src/gateway/iptables"
	"homeconf/src/gateway/multicast"
	"homeconf/src/gateway/openwrt"
	gwuci "homeconf/src/gateway/uci"
	"homeconf/src/model"
	"homeconf/src/uci"
)

// Config says which gateway, and where its things are. Roots and paths that are
// empty are the normal ones.
type Config struct {
	ConfigDir string // UCI files: /etc/config
	RunPath   string // UCI files that hide those: /var/run/uci
	StateDir  string // our ledger: /etc/homeconf
	RunDir    string // what a reboot may forget; normally StateDir

	LANDevice   string // "br-lan"
	LANNetwork  string // "lan"
	WANNetwork  string // "wan"
	IPTVNetwork string // where the provider sends IPTV, if not on the WAN

	DownMbps, UpMbps uint32 // what the owner says the line carries; 0: nothing

	IPTables  string // program: "iptables", or one of its variants
	IGMPProxy string // program; normally igmpproxy, in PATH or /usr/sbin
	NFT       string // program "nft"
	Root      string // "/", where programs and folders of the system are
	Proc      string // "/proc"
	Sys       string // "/sys"

	Reloader Reloader // nil: Watched
	System   System   // the OpenWrt that we are on; nil: none
	Log      *slog.Logger
}

// Router is the home gateway that we run on.
type Router struct {
	cfg    Config
	dir    uci.Dir
	kernel multicast.Kernel
	log    *slog.Logger

	mu       sync.Mutex // one Set at a time
	marks    marker
	pending  pending
	ledger   ledger
	put      *iptables.State // our chain as Set left it; nil: not there, or not known
	stamps   stamps
	netifd   atomic.Pointer[map[string]openwrt.Interface] // as last told; nil: never
	openMu   sync.Mutex                                   // guards marks while it is opened
	dhcpPort uint16                                       // another one only in tests
}

var _ Gateway = (*Router)(nil)

// System is what OpenWrt's own daemons know and tell.
type System interface {
	Interfaces(ctx context.Context) ([]openwrt.Interface, error)
	Watch(ctx context.Context, changed func(what string)) error
}

// marker is what Set and VerifyMarks need of gateway/iptables.
type marker interface {
	Read(ctx context.Context) (iptables.State, error)
	Put(ctx context.Context, from, to iptables.State) error
}

// New makes the gateway; it touches nothing yet.
func New(c Config) (*Router, error) {
	c.ConfigDir = cmp.Or(c.ConfigDir, "/etc/config")
	c.StateDir = cmp.Or(c.StateDir, "/etc/homeconf")
	c.RunDir = cmp.Or(c.RunDir, c.StateDir)
	c.LANDevice = cmp.Or(c.LANDevice, "br-lan")
	c.LANNetwork = cmp.Or(c.LANNetwork, "lan")
	c.WANNetwork = cmp.Or(c.WANNetwork, "wan")
	c.NFT = cmp.Or(c.NFT, "nft")
	c.Root = cmp.Or(c.Root, "/")
	c.Proc = cmp.Or(c.Proc, "/proc")
	c.Sys = cmp.Or(c.Sys, "/sys")
	if c.Reloader == nil {
		c.Reloader = Watched{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	for what, name := range map[string]string{"LAN": c.LANNetwork, "WAN": c.WANNetwork, "IPTV": cmp.Or(c.IPTVNetwork, c.WANNetwork)} {
		if !networkName(name) {
			return nil, fmt.Errorf("%s network %.40q: want the name of a UCI network", what, name)
		}
	}
	if !iptables.DeviceName(c.LANDevice) {
		return nil, fmt.Errorf("LAN device %.40q: want the name of a network device", c.LANDevice)
	}
	return &Router{cfg: c, dir: uci.Dir{Path: c.ConfigDir, RunPath: c.RunPath}, kernel: multicast.New(c.Proc), log: c.Log,
		pending: pending{path: filepath.Join(c.RunDir, "gateway.pending"), proc: c.Proc},
		ledger:  ledger{path: filepath.Join(c.StateDir, "gateway.json")}, dhcpPort: 67}, nil
}

// LeaseFile is where the DHCP server of a configuration folder keeps its
// leases.
func LeaseFile(configDir string) string {
	f, err := uci.Dir{Path: configDir}.Load("dhcp")
	if err != nil {
		return gwuci.LeaseFile(nil)
	}
	return gwuci.LeaseFile(f)
}

// load reads a package; one that isn't there is nil.
func (r *Router) load(pkg string) (*uci.File, error) {
	f, err := r.dir.Load(pkg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// lenient reads a package that the home works without: a broken one is somebody
// else's trouble, and none of the facts.
func (r *Router) lenient(pkg string) *uci.File {
	f, err := r.load(pkg)
	if err != nil {
		r.log.Warn("configuration is unreadable", "package", pkg, "err", err)
	}
	return f
}

// tables opens iptables. What is missing now may be installed later, so a
// failure is not remembered.
func (r *Router) tables() (marker, error) {
	r.openMu.Lock()
	defer r.openMu.Unlock()
	if r.marks == nil {
		t, err := iptables.Open(r.cfg.IPTables)
		if err != nil {
			return nil, err
		}
		r.marks = t
	}
	return r.marks, nil
}

// meant is what is wanted, with the owner's word on where IPTV comes from.
func (r *Router) meant(want model.GatewayState) model.GatewayState {
	if want.Multicast != nil && r.cfg.IPTVNetwork != "" {
		p := *want.Multicast
		p.Upstream = r.cfg.IPTVNetwork
		want.Multicast = &p
	}
	return want
}

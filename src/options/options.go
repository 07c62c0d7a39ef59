// Package options is every option of the UCI package homeconf: one table with
// its values, default and explanation, and the typed reader made from it. The
// README and the shipped /etc/config/homeconf are tested against the table.
package options

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"homeconf/src/model"
	"homeconf/src/uci"
)

// Package is the name of the UCI package.
const Package = "homeconf"

// Pairing is how a stranger proves itself.
type Pairing string

// The pairing ways.
const (
	PairingApprove Pairing = "approve" // a person compares six digits
	PairingWindow  Pairing = "window"  // the one device that asks while a window is open
	PairingCode    Pairing = "code"    // the set-up code on the device's label
)

// Options are the settings in force.
type Options struct {
	Configurator Configurator
	Agent        Agent
	Services     []Service
	Profiles     []Profile
}

// Configurator are the gateway side's options.
type Configurator struct {
	Enabled         bool
	Interface       string
	LANNetwork      string
	WANNetwork      string
	IPTVNetwork     string // empty: WANNetwork
	Pairing         Pairing
	Agentless       string
	DryRun          bool
	ManageIGMPProxy string
	OnSubnetChange  string
	AltNets         []netip.Prefix
	DownMbps        uint32
	UpMbps          uint32
	ReloadCommand   string
	WPS             bool
	OnDrift         string
	RetireAfter     time.Duration // 0: never
	Reinstall       bool          // read by the boot script /etc/init.d/homeconf-reinstall
	LogLevel        string
}

// Agent are the device side's options.
type Agent struct {
	Enabled      bool
	Interface    string
	Pairing      Pairing
	Code         string // a secret: the set-up code on the label
	Category     model.Category
	Manufacturer string
	OUI          string
	Model        string
	ModelNumber  string
	Serial       string
	Firmware     string
	Name         string
	ResolvConf   string
	DHCP         bool
	LogLevel     string
}

// Service is one service that the device's owner listed.
type Service struct {
	Name    string
	Kind    string
	Process string // whose running says that the service runs
	Expose  []model.Port
}

// Profile changes a built-in profile or adds one. A nil field keeps the
// built-in's value.
type Profile struct {
	Name       string
	Categories []model.Category
	Address    *model.AddressPolicy
	Class      *model.TrafficClass
	Multicast  *bool
	DownMbps   *uint32
	UpMbps     *uint32
	Ports      *model.PortPolicy
}

// Option is one line of the table.
type Option struct {
	Section string // type of the section
	Name    string
	List    bool
	Default string // as written in UCI; empty: nothing
	Help    string // one sentence for a person
	Secret  bool   // its value never appears in a message

	kind  *kind
	field func(*Options) any // a pointer to where its value goes
}

// maxSections bounds what a hostile file can make the daemons keep.
const maxSections = 256

// Default is what holds when there is no file.
func Default() *Options {
	o := &Options{}
	for i := range Table {
		t := &Table[i]
		if t.Default != "" && (t.Section == "configurator" || t.Section == "agent") {
			if err := t.read(o, []string{t.Default}); err != nil {
				panic(fmt.Sprintf("options: default of %s.%s: %v", t.Section, t.Name, err))
			}
		}
	}
	return o
}

// Load reads the file in a folder of UCI files. A missing file is all defaults.
// Everything that is wrong is reported at once, and then nothing is taken over.
func Load(configDir string) (*Options, error) {
	f, err := uci.Dir{Path: configDir}.Load(Package)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return nil, err
	}
	return read(f, filepath.Join(configDir, Package))
}

func read(f *uci.File, path string) (*Options, error) {
	o := Default()
	var errs []error
	wrong := func(s *uci.Section, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s:%d: config %s %s: %w", path, s.Line(), s.Type(), label(s), fmt.Errorf(format, args...)))
	}
	count := map[string]int{}
	sections := f.Sections("")
	if len(sections) > maxSections {
		return nil, fmt.Errorf("%s: %d sections, at most %d", path, len(sections), maxSections)
	}
	for _, s := range sections {
		count[s.Type()]++
		if !slices.Contains(sectionTypes, s.Type()) {
			wrong(s, "unknown section type; want one of %s", strings.Join(sectionTypes, ", "))
			continue
		}
		switch s.Type() {
		case "configurator", "agent":
			if count[s.Type()] > 1 {
				wrong(s, "a second one; there can be only one")
			}
		case "service":
			o.Services = append(o.Services, Service{Name: s.Name()})
		case "profile":
			o.Profiles = append(o.Profiles, Profile{Name: s.Name()})
		}
		if (s.Type() == "service" || s.Type() == "profile") && s.Anonymous() {
			wrong(s, "needs a name: config %s 'NAME'", s.Type())
		}
		for _, opt := range s.Options() {
			t := find(s.Type(), opt.Name)
			switch {
			case t == nil:
				wrong(s, "unknown option %.40q; want one of %s", opt.Name, strings.Join(names(s.Type()), ", "))
				continue
			case opt.IsList && !t.List:
				wrong(s, "%s: is a list, want one value", opt.Name)
				continue
			}
			if err := t.read(o, opt.Values); err != nil {
				if t.Secret {
					wrong(s, "%s: want %s", opt.Name, t.Values())
				} else {
					wrong(s, "%s: %w", opt.Name, err)
				}
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return o, nil
}

func label(s *uci.Section) string {
	if s.Anonymous() {
		return "(unnamed)"
	}
	return s.Name()
}

func find(section, option string) *Option {
	for i := range Table {
		if Table[i].Section == section && Table[i].Name == option {
			return &Table[i]
		}
	}
	return nil
}

func names(section string) []string {
	var out []string
	for _, t := range Table {
		if t.Section == section {
			out = append(out, t.Name)
		}
	}
	return out
}

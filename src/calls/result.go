package calls

import (
	"net/netip"
	"time"

	"homeconf/src/model"
)

// StatusResult is the home at a glance.
type StatusResult struct {
	Version       string                    `json:"version,omitempty"`
	Instance      string                    `json:"instance"` // this configurator, 32 hex digits
	Home          string                    `json:"home"`     // the home key's fingerprint
	Since         time.Time                 `json:"since,omitzero"`
	UptimeSeconds int64                     `json:"uptime_seconds"`
	Interface     string                    `json:"interface"` // where agents are heard
	LinkUp        bool                      `json:"link_up"`
	DryRun        bool                      `json:"dry_run"` // plans only, changes nothing
	LAN           model.LAN                 `json:"lan"`
	WAN           model.WAN                 `json:"wan"`
	Firewall      model.Firewall            `json:"firewall,omitempty"`
	Rates         model.Rates               `json:"rates"`
	Multicast     model.MulticastFact       `json:"multicast"`
	Devices       map[model.DeviceState]int `json:"devices"` // how many in each state
	Waiting       []WaitingDevice           `json:"waiting"`
	Findings      int                       `json:"findings"`
	Pairing       PairResult                `json:"pairing"`
	Problem       string                    `json:"problem,omitempty"`  // why nobody is adopted now, in plain words
	Counters      map[string]uint64         `json:"counters,omitempty"` // frames dropped, by reason; more
}

// MetricsResult are numbers by their names, such as "devices_adopted": counters
// and gauges alike, for a collector.
type MetricsResult map[string]int64

// WaitingDevice is one that asks to be let in. Its digits are for a page that
// asks "Does the device show 482 913?"; the command line doesn't print them, so
// that they are read at the device and not copied.
type WaitingDevice struct {
	ID     model.DeviceID `json:"id"`
	MAC    model.MAC      `json:"mac"`
	Name   string         `json:"name,omitempty"`
	Way    string         `json:"way"` // "approve", "window" or "code"
	Digits string         `json:"digits,omitempty"`
	Since  time.Time      `json:"since,omitzero"`
}

// DeviceSummary is one line of the list of devices.
type DeviceSummary struct {
	ID       model.DeviceID     `json:"id"`
	Name     string             `json:"name"`
	Category model.Category     `json:"category,omitempty"`
	Profile  string             `json:"profile,omitempty"`
	Class    model.TrafficClass `json:"class,omitempty"`
	State    model.DeviceState  `json:"state"`
	Agent    bool               `json:"agent"`  // runs one
	Online   bool               `json:"online"` // its session is open, or the gateway sees it
	MAC      model.MAC          `json:"mac"`
	Address  netip.Addr         `json:"address,omitzero"` // in force, else assigned
	// Progress says in one word how far its configuration is:
	// "configured", "pending", "failed", or "" where nothing is to be done.
	Progress string    `json:"progress,omitempty"`
	Findings int       `json:"findings,omitempty"`
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// DevicesResult is the list of devices.
type DevicesResult struct {
	Devices []DeviceSummary `json:"devices"`
}

// DeviceDetail is all that is known of one device.
type DeviceDetail struct {
	DeviceSummary
	Record   model.Record    `json:"record"`
	Why      string          `json:"why,omitempty"` // why it is taken for what it is
	Needs    *model.Profile  `json:"needs,omitempty"`
	Plan     []PlanLine      `json:"plan,omitempty"`
	Checks   []model.Check   `json:"checks,omitempty"` // what was read back from the gateway
	Problems []model.Finding `json:"problems,omitempty"`
	Events   []model.Event   `json:"events,omitempty"` // the last ones
	Session  *SessionResult  `json:"session,omitempty"`
}

// SessionResult is the open session with a device's agent.
type SessionResult struct {
	Since time.Time `json:"since,omitzero"`
	MAC   model.MAC `json:"mac"`
}

// PlanLine is one thing that should be, and why.
type PlanLine struct {
	Device model.DeviceID `json:"device,omitempty"`
	Name   string         `json:"name,omitempty"` // what the device is called
	What   string         `json:"what"`
	Value  string         `json:"value"`
	Reason string         `json:"reason"`
}

// PlanResult is what should be on the gateway and on each device.
type PlanResult struct {
	DryRun   bool            `json:"dry_run"` // printed only, nothing is done
	Lines    []PlanLine      `json:"lines"`
	Findings []model.Finding `json:"findings,omitempty"` // what the plan found wrong
}

// FindingsResult is what is wrong.
type FindingsResult struct {
	Findings []model.Finding `json:"findings"`
}

// EventsResult is what happened, oldest first.
type EventsResult struct {
	Events []model.Event `json:"events"`
}

// PairResult is the pairing window.
type PairResult struct {
	Way   string    `json:"way,omitempty"` // the configured way: "approve", "window", "code"
	Open  bool      `json:"open"`
	Until time.Time `json:"until,omitzero"`
	Codes int       `json:"codes,omitempty"` // set-up codes that await their devices
}

// CodeResult says until when a set-up code awaits its device, never the code.
type CodeResult struct {
	Until time.Time `json:"until"`
	Codes int       `json:"codes"` // that await their devices, this one included
}

// LeaveResult is what became of each device when the home was left.
type LeaveResult struct {
	Devices []LeftDevice `json:"devices"`
}

// LeftDevice is one device of a home that was left.
type LeftDevice struct {
	ID      model.DeviceID `json:"id"`
	Name    string         `json:"name"`
	Address netip.Addr     `json:"address,omitzero"`
	DHCP    bool           `json:"dhcp"` // it gets its address by DHCP now
	Kept    bool           `json:"kept"` // its reservation stays in the gateway's DHCP server
	Said    string         `json:"said"` // in words
}

// BackupResult is a recovery file that was written.
type BackupResult struct {
	File       string `json:"file"`
	Devices    int    `json:"devices"`
	Passphrase string `json:"passphrase,omitempty"` // made for it; it is shown this once
}

// KeyResult is how the home key stands, never the key.
type KeyResult struct {
	Home        string      `json:"home"` // the fingerprint
	Term        uint64      `json:"term"`
	Former      string      `json:"former,omitempty"` // the former key's, while devices need it
	FormerUntil time.Time   `json:"former_until,omitzero"`
	Awaited     []KeyDevice `json:"awaited,omitempty"` // have the former key yet
	Restored    bool        `json:"restored"`          // from a recovery file, and not everybody has come back
	Missing     []KeyDevice `json:"missing,omitempty"` // have not come back
}

// KeyDevice is a device that is waited for.
type KeyDevice struct {
	ID   model.DeviceID `json:"id"`
	Name string         `json:"name,omitempty"`
}

// DoneResult says in one sentence what was done.
type DoneResult struct {
	Text string `json:"text"`
}

// AgentState is where an agent stands with its home.
type AgentState string

// The states of an agent.
const (
	AgentSearching AgentState = "searching" // nobody answers
	AgentWaiting   AgentState = "waiting"   // digits are shown, a person's yes is awaited
	AgentAway      AgentState = "away"      // has a home, and no session with it now
	AgentConnected AgentState = "connected" // has a session with its home
)

// AgentStatusResult is where this device stands with its home.
type AgentStatusResult struct {
	Version       string            `json:"version,omitempty"`
	State         AgentState        `json:"state"`
	Interface     string            `json:"interface"`
	MAC           model.MAC         `json:"mac,omitzero"`
	LinkUp        bool              `json:"link_up"`
	Device        model.DeviceID    `json:"device,omitempty"`     // the id that the home knows it by
	Digits        string            `json:"digits,omitempty"`     // to compare, while a yes is awaited
	Homes         int               `json:"homes"`                // heard while unpaired
	NeedsCode     bool              `json:"needs_code,omitempty"` // unpaired, and only the set-up code on its label pairs it
	Home          string            `json:"home,omitempty"`       // the pinned home key's fingerprint
	Since         time.Time         `json:"since,omitzero"`       // of the session
	Info          model.DeviceInfo  `json:"info"`
	Settings      *model.Settings   `json:"settings,omitempty"` // in force, when they are ours
	Commit        model.CommitState `json:"commit,omitempty"`
	Temporary     netip.Prefix      `json:"temporary_address,omitzero"` // got by DHCP, given back once configured
	Problem       string            `json:"problem,omitempty"`
	UptimeSeconds int64             `json:"uptime_seconds"`
	Counters      map[string]uint64 `json:"counters,omitempty"`
}

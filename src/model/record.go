package model

import (
	"net/netip"
	"time"
)

// DeviceState is where a device stands with this home.
type DeviceState string

// The states of a device.
const (
	DeviceSeen    DeviceState = "seen"    // without an agent, and nobody has set it up
	DeviceWaiting DeviceState = "waiting" // an agent asks to be let in
	DeviceAdopted DeviceState = "adopted" // proven by its key, ours to configure
	DeviceManaged DeviceState = "managed" // without an agent, set up by a person on the gateway's side
	DeviceRetired DeviceState = "retired" // let go
)

// Choice is what a person chose for a device. It always beats a guess; an
// empty field is no choice.
type Choice struct {
	Name     string     `json:"Name,omitempty"`
	Category Category   `json:"Category,omitempty"`
	Profile  string     `json:"Profile,omitempty"`
	Address  netip.Addr `json:"Address,omitzero"`
}

// Sighting is what the gateway itself sees of a device.
type Sighting struct {
	HostName string       `json:"HostName,omitempty"` // TR-181 Hosts.Host.{i}.HostName
	Addrs    []netip.Addr `json:"IPAddress,omitempty"`
	Port     string       `json:"BridgePort,omitempty"`
	Active   bool         `json:"Active"`
	Sources  []string     `json:"Sources,omitempty"` // "dhcp", "neighbor", "bridge"

	// Guess is the category that the evidence speaks for, and GuessReason why,
	// in words that follow "a guess, as": "its DHCP vendor class says …".
	Guess       Category `json:"GuessedCategory,omitempty"`
	GuessReason string   `json:"GuessReason,omitempty"`
}

// Record is what the configuration information database keeps of one device.
type Record struct {
	ID       DeviceID    `json:"ID"`
	Key      *DeviceKey  `json:"Key,omitempty"` // nil: no agent
	MACs     []MAC       `json:"MACAddresses,omitempty"`
	State    DeviceState `json:"State"`
	Choice   Choice      `json:"Choice,omitzero"`
	Report   *Report     `json:"Report,omitempty"`
	Sighting *Sighting   `json:"Sighting,omitempty"`

	// Address is the fixed address that the plan gave, kept from plan to
	// plan so that a device does not wander.
	Address netip.Addr `json:"AssignedAddress,omitzero"`
	// Former are the fixed addresses that its agent may still use, until it
	// has confirmed the one above: the gateway keeps them for it meanwhile.
	Former []netip.Addr `json:"FormerAddresses,omitempty"`
	// Declined says that a person took its reservation away; none is made
	// until a person chooses something for the device.
	Declined bool `json:"ReservationDeclined,omitempty"`
	// Desired is what was last asked of the agent; Confirmed is the
	// generation that both sides agreed on.
	Desired   *Settings `json:"Desired,omitempty"`
	Confirmed uint64    `json:"ConfirmedGeneration,omitempty"`
	Openings  []Opening `json:"Openings,omitempty"` // never changed in place

	// Restored: made of what the device itself kept. What of it opens the home
	// to the outside, or gives rights, waits for a person's yes.
	Restored bool `json:"Restored,omitempty"`

	// Kept is what somebody set at the device itself and a person, or option
	// on_drift, said yes to. It stands before what the plan would ask.
	Kept *Settings `json:"Kept,omitempty"`

	// LetGo is when it was decided that the device leaves. It is ours until
	// it has gone back to DHCP or had its time; from then on it is retired,
	// and only its key is remembered.
	LetGo time.Time `json:"LetGo,omitzero"`

	// Here is a time at which the device was here, at most some days before the
	// last one: unlike LastSeen it is worth a write to flash.
	Here time.Time `json:"Here,omitzero"`

	FirstSeen time.Time `json:"FirstSeen,omitzero"`
	LastSeen  time.Time `json:"LastSeen,omitzero"`
}

// Ours says whether the device is ours to configure, on one side or both.
func (r *Record) Ours() bool { return r.State == DeviceAdopted || r.State == DeviceManaged }

// Category is the chosen category, else the one the agent reports.
func (r *Record) Category() Category {
	if r.Choice.Category != "" {
		return r.Choice.Category
	}
	if r.Report != nil {
		return r.Report.Info.DeviceCategory
	}
	return CategoryUnknown
}

// Name is what a person calls the device, else what it calls itself, else its id.
func (r *Record) Name() string {
	switch {
	case r.Choice.Name != "":
		return r.Choice.Name
	case r.Report != nil && r.Report.Info.FriendlyName != "":
		return r.Report.Info.FriendlyName
	case r.Report != nil && r.Report.HostName != "":
		return r.Report.HostName
	case r.Sighting != nil && r.Sighting.HostName != "":
		return r.Sighting.HostName
	}
	return string(r.ID)
}

// Clone copies a record deeply enough that changing the copy changes nothing else.
func (r *Record) Clone() *Record {
	c := *r
	c.MACs = append([]MAC(nil), r.MACs...)
	c.Former = append([]netip.Addr(nil), r.Former...)
	if r.Key != nil {
		k := *r.Key
		c.Key = &k
	}
	if r.Report != nil {
		v := *r.Report
		c.Report = &v
	}
	if r.Sighting != nil {
		v := *r.Sighting
		c.Sighting = &v
	}
	if r.Desired != nil {
		v := *r.Desired
		c.Desired = &v
	}
	return &c
}

// Event is one line of the home's history.
type Event struct {
	Seq    uint64    `json:"Seq"`
	Time   time.Time `json:"Time"`
	Device DeviceID  `json:"Device,omitempty"`
	Kind   string    `json:"Kind"`             // "device.adopted", "gateway.applied", …: noun.verb
	Cause  string    `json:"Cause,omitempty"`  // "person", "agent", "plan", "gateway"
	Text   string    `json:"Text"`             // one sentence
	Detail []string  `json:"Detail,omitempty"` // further lines

	// Changes are what was decided otherwise; Undoes is the number of the
	// event that this one takes back.
	Changes []Change `json:"Changes,omitempty"`
	Undoes  uint64   `json:"Undoes,omitempty"`
}

// Change is one thing before and after an event. Empty is what nobody chose.
type Change struct {
	What   string `json:"What"` // "name", "address", "member", …
	Before string `json:"Before"`
	After  string `json:"After"`
}

// Finding is something wrong that a person should know.
type Finding struct {
	ID     string    `json:"ID"` // Kind, and the device's id where there is one
	Kind   string    `json:"Kind"`
	Device DeviceID  `json:"Device,omitempty"`
	Text   string    `json:"Text"` // plain words
	Step   string    `json:"Step"` // what would mend it
	Since  time.Time `json:"Since,omitzero"`
}

// FindingID makes the id that a finding of a kind has, about a device or none.
func FindingID(kind string, device DeviceID) string {
	if device == "" {
		return kind
	}
	return kind + ":" + string(device)
}

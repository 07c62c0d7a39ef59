package calls

import (
	"slices"
	"time"
)

// Daemon is which of the two daemons answers a call.
type Daemon string

// The daemons.
const (
	Configurator Daemon = "configurator"
	Agent        Daemon = "agent"
)

// Kind is the type of an argument.
type Kind string

// The kinds of arguments.
const (
	String   Kind = "string"
	Bool     Kind = "bool"
	Int      Kind = "int"
	Duration Kind = "duration" // in JSON "2m30s", or a number of seconds
)

// Arg is one argument of a call.
type Arg struct {
	Name       string
	Kind       Kind
	Required   bool
	Content    bool   // on the command line a file's name, in the flag --NAME-file: what it holds is the value; "-" is standard input
	Path       bool   // a file's name, made absolute on the command line
	Positional bool   // on the command line a word by its place; else a flag
	Value      string // what the value is called in help: "ID", "NNNNNN"
	Default    any    // what a handler finds when the argument is missing; nil: nothing
	Help       string

	check func(any) error // nil: every value of the kind
}

// Flag is what an argument is called on the command line.
func (a *Arg) Flag() string {
	if a.Content {
		return a.Name + "-file"
	}
	return a.Name
}

// Call is one thing that people and scripts can ask of a daemon.
type Call struct {
	Name     string // on the socket: snake_case
	Daemon   Daemon
	Words    []string // on the command line: noun, verb
	Args     []Arg
	Help     string
	ReadOnly bool // changes nothing
	Example  string
	Result   any // a zero value of the type that the answer has
}

func argID(help string) Arg {
	return Arg{Name: "id", Kind: String, Required: true, Positional: true, Value: "ID", Help: help, check: isDeviceID}
}

func argFile(help string) Arg {
	return Arg{Name: "file", Kind: String, Required: true, Positional: true, Path: true, Value: "FILE", Help: help, check: isPath}
}

func argPassphrase(required bool, help string) Arg {
	return Arg{Name: "passphrase", Kind: String, Required: required, Content: true, Value: "FILE", Help: help, check: isPassphrase}
}

// Table has every call there is.
var Table = []Call{
	{
		Name: "status", Daemon: Configurator, Words: []string{"status"}, ReadOnly: true,
		Help:    "Show the home at a glance: LAN, WAN, devices, who waits, findings.",
		Example: "homeconf status", Result: StatusResult{},
	},
	{
		Name: "device_list", Daemon: Configurator, Words: []string{"device", "list"}, ReadOnly: true,
		Help:    "List every device on the LAN, with an agent or without.",
		Example: "homeconf device list", Result: DevicesResult{},
	},
	{
		Name: "device_show", Daemon: Configurator, Words: []string{"device", "show"}, ReadOnly: true,
		Args:    []Arg{argID("the device, as `homeconf device list` names it")},
		Help:    "Show all that is known of one device: what it reports, what was asked of it, what the gateway sees.",
		Example: "homeconf device show d1a2b3c4d5e", Result: DeviceDetail{},
	},
	{
		Name: "device_adopt", Daemon: Configurator, Words: []string{"device", "adopt"},
		Args: []Arg{
			argID("the waiting device"),
			{Name: "code", Kind: String, Required: true, Value: "NNNNNN", check: isDigits,
				Help: "the six digits that the device shows (`homeconf agent status` there prints them)"},
		},
		Help:    "Let a waiting device in. Wrong digits never do.",
		Example: "homeconf device adopt d1a2b3c4d5e --code 482913", Result: DeviceSummary{},
	},
	{
		Name: "device_refuse", Daemon: Configurator, Words: []string{"device", "refuse"},
		Args:    []Arg{argID("the waiting device")},
		Help:    "Turn a waiting device away.",
		Example: "homeconf device refuse d1a2b3c4d5e", Result: DoneResult{},
	},
	{
		Name: "device_set", Daemon: Configurator, Words: []string{"device", "set"},
		Args: []Arg{
			argID("the device"),
			{Name: "name", Kind: String, Value: "NAME", Help: "what you call it", check: isName},
			{Name: "category", Kind: String, Value: "CATEGORY", Help: "what it is: AV_STB, AV_TV, PC_NAS, …", check: isCategory},
			{Name: "profile", Kind: String, Value: "PROFILE", Help: "the profile to use, instead of its category's", check: isProfile},
			{Name: "address", Kind: String, Value: "ADDRESS", Help: "the IPv4 address it shall have", check: isAddress},
		},
		Help:    "Choose for a device. Your choice always beats a guess; an empty value takes a choice back. A category sets up a device that has no agent.",
		Example: "homeconf device set m001122334455 --category AV_STB --name \"Living room\"", Result: DeviceSummary{},
	},
	{
		Name: "device_retire", Daemon: Configurator, Words: []string{"device", "retire"},
		Args: []Arg{argID("the device")},
		Help: "Let a device go. Its agent goes back to DHCP and forgets this home, and what the gateway has for it is taken away; " +
			"for one that is not here, after ten minutes. When it comes back it is a stranger.",
		Example: "homeconf device retire d1a2b3c4d5e", Result: DoneResult{},
	},
	{
		Name: "pair", Daemon: Configurator, Words: []string{"pair"},
		Args: []Arg{{Name: "for", Kind: Duration, Value: "TIME", Default: 2 * time.Minute, check: isWindow,
			Help: "how long the window stays open, 10s to 10m"},
			{Name: "wps", Kind: Bool, Help: "as the router's WPS button asks: only where option wps allows it"}},
		Help:    "Open the pairing window: the one device that asks is let in without digits. When two ask, none is.",
		Example: "homeconf pair --for 2m", Result: PairResult{},
	},
	{
		Name: "pair_code", Daemon: Configurator, Words: []string{"pair", "code"},
		Args: []Arg{
			{Name: "code", Kind: String, Required: true, Positional: true, Value: "CODE", check: isSetupCode,
				Help: "the set-up code on the device's label, with or without its dashes"},
			{Name: "for", Kind: Duration, Value: "TIME", Default: 10 * time.Minute, check: isCodeTime,
				Help: "how long the device may take to come, 1m to 24h"},
		},
		Help:    "Enter the set-up code on a device's label: the device with it is let in without digits, once.",
		Example: "homeconf pair code 7K3M-Q9TX-4W2B-HD8R --for 1h", Result: CodeResult{},
	},
	{
		Name: "pair_close", Daemon: Configurator, Words: []string{"pair", "close"},
		Help:    "Close the pairing window, and forget the set-up codes that were entered.",
		Example: "homeconf pair close", Result: PairResult{},
	},
	{
		Name: "plan", Daemon: Configurator, Words: []string{"plan"}, ReadOnly: true,
		Help:    "Print what should be on the gateway and on each device, with the reason for every line.",
		Example: "homeconf plan", Result: PlanResult{},
	},
	{
		Name: "finding_list", Daemon: Configurator, Words: []string{"finding", "list"}, ReadOnly: true,
		Help:    "List what is wrong, and the step that would mend it.",
		Example: "homeconf finding list", Result: FindingsResult{},
	},
	{
		Name: "event_list", Daemon: Configurator, Words: []string{"event", "list"}, ReadOnly: true,
		Args: []Arg{
			{Name: "device", Kind: String, Value: "ID", Help: "only what happened to this device", check: isDeviceID},
			{Name: "limit", Kind: Int, Value: "N", Default: int64(100), Help: "the last N events, 1 to 1000", check: isLimit},
		},
		Help:    "Tell what happened, oldest first.",
		Example: "homeconf event list --device d1a2b3c4d5e", Result: EventsResult{},
	},
	{
		Name: "drift_keep", Daemon: Configurator, Words: []string{"drift", "keep"},
		Args:    []Arg{argID("the device that a finding names")},
		Help:    "Keep what somebody has set at a device itself: it becomes what is wanted.",
		Example: "homeconf drift keep d1a2b3c4d5e", Result: DoneResult{},
	},
	{
		Name: "drift_revert", Daemon: Configurator, Words: []string{"drift", "revert"},
		Args:    []Arg{argID("the device that a finding names")},
		Help:    "Put back what a device was configured to, in place of what somebody has set there.",
		Example: "homeconf drift revert d1a2b3c4d5e", Result: DoneResult{},
	},
	{
		Name: "undo", Daemon: Configurator, Words: []string{"undo"},
		Args:    []Arg{{Name: "event", Kind: Int, Required: true, Positional: true, Value: "EVENT", Help: "the event's number, as `homeconf event list` shows it", check: isEvent}},
		Help:    "Take back what an event decided, unless something else was decided since. That can be taken back as well.",
		Example: "homeconf undo 482", Result: DoneResult{},
	},
	{
		Name: "metrics", Daemon: Configurator, Words: []string{"metrics"}, ReadOnly: true,
		Help:    "Print numbers about the home and the configurator, for a collector.",
		Example: "homeconf metrics", Result: MetricsResult{},
	},
	{
		Name: "multicast_allow", Daemon: Configurator, Words: []string{"multicast", "allow"},
		Help:    "Say yes to homeconf setting up the gateway's IGMP proxy, which IPTV needs.",
		Example: "homeconf multicast allow", Result: DoneResult{},
	},
	{
		Name: "home_leave", Daemon: Configurator, Words: []string{"home", "leave"},
		Args: []Arg{{Name: "yes", Kind: Bool, Required: true, check: isTrue,
			Help: "needed: every device is asked back to DHCP, and all that homeconf made on the gateway is removed"}},
		Help: "Ask every agent back to DHCP and take everything of homeconf's off the gateway. " +
			"The reservation of a device that does not answer stays, so that it is not stranded. Who belongs to the home is not forgotten: " +
			"a restart of homeconf sets everything up again.",
		Example: "homeconf home leave --yes", Result: LeaveResult{},
	},
	{
		Name: "backup", Daemon: Configurator, Words: []string{"backup"},
		Args: []Arg{argFile("where the recovery file is written"), argPassphrase(false, "a file with the passphrase; none: one is made, and shown once")},
		Help: "Write a recovery file: this home's key and who belongs to it, encrypted by a passphrase. " +
			"With it another router becomes this home's configurator, and nothing has to be paired again.",
		Example: "homeconf backup /tmp/home.recovery", Result: BackupResult{},
	},
	{
		Name: "restore", Daemon: Configurator, Words: []string{"restore"},
		Args: []Arg{argFile("the recovery file"), argPassphrase(true, "a file with the passphrase, or - to type it in"),
			{Name: "yes", Kind: Bool, Help: "also where this router has a home with devices already, which are forgotten when it is another"}},
		Help: "Make this router the configurator of the home in a recovery file. Its devices come back by themselves, with their names and addresses; " +
			"what opened the home to the outside waits for your yes. Use a home on one router only.",
		Example: "homeconf restore /tmp/home.recovery --passphrase-file -", Result: DoneResult{},
	},
	{
		Name: "key_status", Daemon: Configurator, Words: []string{"key", "status"}, ReadOnly: true,
		Help:    "Show the home key's fingerprint, and who has not got the present key or has not come back after a restore.",
		Example: "homeconf key status", Result: KeyResult{},
	},
	{
		Name: "key_rotate", Daemon: Configurator, Words: []string{"key", "rotate"},
		Args: []Arg{{Name: "yes", Kind: Bool, Help: "also where devices have not got the present key yet; they would have to be paired anew"}},
		Help: "Give the home a new key, as before an old router is sold. Devices that are here get it at once, others when they come back within 90 days. " +
			"Recovery files of before don't work any more: make a new one.",
		Example: "homeconf key rotate", Result: KeyResult{},
	},
	{
		Name: "agent_status", Daemon: Agent, Words: []string{"agent", "status"}, ReadOnly: true,
		Help:    "Show where this device stands with its home, and the digits to compare.",
		Example: "homeconf agent status", Result: AgentStatusResult{},
	},
	{
		Name: "agent_approve", Daemon: Agent, Words: []string{"agent", "approve"},
		Args: []Arg{{Name: "digits", Kind: String, Required: true, Positional: true, Value: "NNNNNN", check: isDigits,
			Help: "the six digits that this device shows, once your home has taken them"}},
		Help:    "Say yes to a home at the device itself; needed when several homes are heard.",
		Example: "homeconf agent approve 482913", Result: DoneResult{},
	},
	{
		Name: "agent_reset", Daemon: Agent, Words: []string{"agent", "reset"},
		Args: []Arg{{Name: "yes", Kind: Bool, Required: true, check: isTrue,
			Help: "needed: the device forgets its home, its key and its settings"}},
		Help:    "Wipe this device's key, its home and its record; it starts again as a stranger.",
		Example: "homeconf agent reset --yes", Result: DoneResult{},
	},
}

// Lookup finds a call by its name.
func Lookup(name string) (*Call, bool) {
	i := slices.IndexFunc(Table, func(c Call) bool { return c.Name == name })
	if i < 0 {
		return nil, false
	}
	return &Table[i], true
}

// Find finds the call that the first words of a command line name, the longest
// match first, and returns the words left over.
func Find(words []string) (call *Call, rest []string, ok bool) {
	for i := range Table {
		c := &Table[i]
		if len(c.Words) <= len(words) && slices.Equal(c.Words, words[:len(c.Words)]) &&
			(call == nil || len(c.Words) > len(call.Words)) {
			call, rest = c, words[len(c.Words):]
		}
	}
	return call, rest, call != nil
}

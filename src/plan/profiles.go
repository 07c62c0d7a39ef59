package plan

import (
	"slices"
	"sort"

	"homeconf/src/model"
)

// The names of the built-in profiles.
const (
	ProfileSTB         = "set_top_box"
	ProfileTV          = "tv"
	ProfileRecorder    = "recorder"
	ProfilePlayer      = "player"
	ProfileAudio       = "audio"
	ProfileNAS         = "nas"
	ProfileGame        = "game_console"
	ProfilePhone       = "ip_phone"
	ProfileCamera      = "camera"
	ProfilePrinter     = "printer"
	ProfileAccessPoint = "access_point"
	ProfileComputer    = "computer"
	ProfileUnknown     = "unknown"
)

// builtin has the profiles that need no configuration. The classes are those
// that RFC 4594 recommends for what such a device receives; a mark can only
// speak of traffic to the device, so one that mostly sends (camera) or carries
// everybody's traffic (access point) has none.
var builtin = []model.Profile{
	// RFC 4594, 4.5: broadcast TV in inelastic streams. 25 Mbit/s is one UHD channel.
	{Name: ProfileSTB, Categories: []model.Category{model.CategorySTB}, Address: model.AddressStatic,
		Class: model.ClassBroadcastVideo, Multicast: true, DownMbps: 25, Ports: model.PortsAsk},
	// RFC 4594, 4.6: video on demand, buffered and elastic.
	{Name: ProfileTV, Categories: []model.Category{model.CategoryTV}, Address: model.AddressReserve,
		Class: model.ClassStreaming, DownMbps: 15, Ports: model.PortsAsk},
	{Name: ProfileRecorder, Categories: []model.Category{model.CategoryRecorder}, Address: model.AddressStatic,
		Class: model.ClassStreaming, Ports: model.PortsAsk},
	{Name: ProfilePlayer, Categories: []model.Category{model.CategoryPlayer}, Address: model.AddressStatic,
		Class: model.ClassStreaming, DownMbps: 15, Ports: model.PortsAsk},
	{Name: ProfileAudio, Categories: []model.Category{model.CategoryAudio}, Address: model.AddressReserve,
		Class: model.ClassStreaming, DownMbps: 2, Ports: model.PortsAsk},
	// RFC 4594, 4.8: bulk transfers that want throughput, not delay.
	{Name: ProfileNAS, Categories: []model.Category{model.CategoryNAS}, Address: model.AddressStatic,
		Class: model.ClassThroughput, Ports: model.PortsAsk},
	// RFC 4594, 4.4: interactive gaming.
	{Name: ProfileGame, Categories: []model.Category{model.CategoryGame}, Address: model.AddressReserve,
		Class: model.ClassInteractive, DownMbps: 5, UpMbps: 1, Ports: model.PortsAsk},
	// RFC 4594, 4.1: voice.
	{Name: ProfilePhone, Categories: []model.Category{model.CategoryPhone}, Address: model.AddressReserve,
		Class: model.ClassTelephony, DownMbps: 1, UpMbps: 1, Ports: model.PortsAsk},
	{Name: ProfileCamera, Categories: []model.Category{model.CategoryCamera}, Address: model.AddressReserve,
		Class: model.ClassNone, UpMbps: 4, Ports: model.PortsNever},
	{Name: ProfilePrinter, Categories: []model.Category{model.CategoryPrinter}, Address: model.AddressReserve,
		Class: model.ClassNone, Ports: model.PortsNever},
	{Name: ProfileAccessPoint, Categories: []model.Category{model.CategoryAccessPoint, model.CategorySwitch, model.CategoryRouter},
		Address: model.AddressReserve, Class: model.ClassNone, Ports: model.PortsAsk},
	{Name: ProfileComputer, Categories: []model.Category{model.CategoryComputer}, Address: model.AddressReserve,
		Class: model.ClassNone, Ports: model.PortsAsk},
	unknown,
}

var unknown = model.Profile{Name: ProfileUnknown, Address: model.AddressReserve, Class: model.ClassNone, Ports: model.PortsNever}

// BuiltinProfiles returns a fresh copy of the built-in profiles, by name.
func BuiltinProfiles() map[string]model.Profile {
	m := make(map[string]model.Profile, len(builtin))
	for _, p := range builtin {
		p.Categories = slices.Clone(p.Categories)
		m[p.Name] = p
	}
	return m
}

// Identity is what a device was taken for.
type Identity struct {
	Category model.Category `json:"Category,omitempty"`
	Profile  model.Profile  `json:"Profile"`
	Why      string         `json:"Why"` // a clause in plain words
}

// Identify says what a device is and which profile it gets: a person's choice
// beats what its agent says, and that beats a guess from what the gateway sees.
func Identify(r *model.Record, profiles map[string]model.Profile) Identity {
	return newCatalog(profiles).identify(r)
}

// catalog finds profiles by name and by category.
type catalog struct {
	byName     map[string]model.Profile
	byCategory map[model.Category]model.Profile
}

func newCatalog(configured map[string]model.Profile) catalog {
	c := catalog{byName: make(map[string]model.Profile, len(builtin)+len(configured)), byCategory: map[model.Category]model.Profile{}}
	builtinNames := make(map[string]bool, len(builtin))
	for _, p := range builtin {
		builtinNames[p.Name] = true
		if _, ok := configured[p.Name]; !ok {
			c.byName[p.Name] = p
		}
	}
	// A profile with a name of its own was made on purpose; one with a
	// built-in's name is that built-in, changed.
	names := make([]string, 0, len(configured))
	for name := range configured {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := names[i], names[j]
		if builtinNames[a] != builtinNames[b] {
			return builtinNames[b]
		}
		return a < b
	})
	for _, name := range names {
		p := tidy(name, configured[name])
		c.byName[name] = p
		c.learn(p)
	}
	for _, p := range builtin {
		if _, changed := configured[p.Name]; !changed {
			c.learn(p)
		}
	}
	return c
}

func (c catalog) learn(p model.Profile) {
	for _, cat := range p.Categories {
		if _, taken := c.byCategory[cat]; !taken && cat != model.CategoryUnknown {
			c.byCategory[cat] = p
		}
	}
}

// tidy gives fields without a meaning the most careful one.
func tidy(name string, p model.Profile) model.Profile {
	p.Name = name
	switch p.Address {
	case model.AddressStatic, model.AddressReserve, model.AddressDynamic:
	default:
		p.Address = model.AddressReserve
	}
	if _, ok := p.Class.DSCP(); !ok {
		p.Class = model.ClassNone
	}
	switch p.Ports {
	case model.PortsAsk, model.PortsAlways:
	default:
		p.Ports = model.PortsNever
	}
	return p
}

func (c catalog) identify(r *model.Record) Identity {
	if r == nil {
		return Identity{Profile: c.byName[ProfileUnknown], Why: "nothing is known of it"}
	}
	category, why := categoryOf(r)
	if r.Choice.Profile != "" {
		if p, ok := c.byName[r.Choice.Profile]; ok {
			return Identity{category, p, "a person chose this profile"}
		}
		why = "the chosen profile " + quote(r.Choice.Profile) + " does not exist; " + why
	}
	if p, ok := c.byCategory[category]; ok {
		return Identity{category, p, why}
	}
	if category != model.CategoryUnknown {
		why += ", for which there is no profile"
	}
	return Identity{category, c.byName[ProfileUnknown], why}
}

// categoryOf says what a device is and who says so.
func categoryOf(r *model.Record) (model.Category, string) {
	form := func(c model.Category) bool {
		_, err := model.ParseCategory(string(c))
		return c != model.CategoryUnknown && err == nil
	}
	switch {
	case form(r.Choice.Category):
		return r.Choice.Category, "a person says it is " + string(r.Choice.Category)
	case r.Report != nil && form(r.Report.Info.DeviceCategory):
		return r.Report.Info.DeviceCategory, "its agent says it is " + string(r.Report.Info.DeviceCategory)
	case r.Report == nil && r.Sighting != nil && form(r.Sighting.Guess):
		why := "a guess"
		if r.Sighting.GuessReason != "" {
			why += ", as " + words(r.Sighting.GuessReason)
		}
		return r.Sighting.Guess, why
	}
	return model.CategoryUnknown, "nobody has said what it is"
}

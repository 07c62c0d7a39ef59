package model

import (
	"fmt"
	"slices"
	"strings"
)

// Category is a device category in the naming scheme of HTIP (TTC JJ-300.00),
// which TR-181 takes for DeviceInfo.DeviceCategory: a family, an underscore, a
// kind. Any name of that form is a category; the ones below are those that
// built-in profiles are made for.
type Category string

// The categories with a built-in profile.
const (
	CategoryUnknown     Category = ""
	CategoryTV          Category = "AV_TV"
	CategorySTB         Category = "AV_STB"
	CategoryRecorder    Category = "AV_Recorder"
	CategoryPlayer      Category = "AV_Player"
	CategoryAudio       Category = "AV_Audio"
	CategoryGame        Category = "AV_Game"
	CategoryCamera      Category = "AV_Camera"
	CategoryNAS         Category = "PC_NAS"
	CategoryComputer    Category = "PC_Computer"
	CategoryPrinter     Category = "PC_Printer"
	CategoryPhone       Category = "COM_Phone"
	CategoryAccessPoint Category = "COM_AP"
	CategorySwitch      Category = "COM_Switch"
	CategoryRouter      Category = "COM_Router"
)

// KnownCategories lists the categories named above, sorted.
func KnownCategories() []Category {
	c := []Category{CategoryTV, CategorySTB, CategoryRecorder, CategoryPlayer, CategoryAudio, CategoryGame, CategoryCamera,
		CategoryNAS, CategoryComputer, CategoryPrinter, CategoryPhone, CategoryAccessPoint, CategorySwitch, CategoryRouter}
	slices.Sort(c)
	return c
}

const (
	capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alnum    = capitals + "abcdefghijklmnopqrstuvwxyz0123456789"
)

// ParseCategory checks the form of a category name. The empty name is
// CategoryUnknown.
func ParseCategory(s string) (Category, error) {
	kind, name, _ := strings.Cut(s, "_")
	ok := kind != "" && len(kind) <= 8 && only(kind[:1], capitals) && only(kind, alnum) &&
		name != "" && len(name) <= 22 && only(name, alnum)
	if s != "" && !ok {
		return "", fmt.Errorf("device category %.40q: want a name such as %s or %s", s, CategorySTB, CategoryNAS)
	}
	return Category(s), nil
}

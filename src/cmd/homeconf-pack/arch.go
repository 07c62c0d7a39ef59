package main

import (
	"fmt"
	"slices"
	"strings"
)

// target is what Go calls a machine.
type target struct {
	goarch string
	level  string // "GOARM=7" and the like; empty: one kind only
}

func (t target) env() []string {
	env := []string{"GOOS=linux", "GOARCH=" + t.goarch, "CGO_ENABLED=0"}
	if t.level != "" {
		env = append(env, t.level)
	}
	return env
}

// targets are OpenWrt's package architectures that Go can build for. Where a
// CPU has no FPU, or none that Go can use, floating point is done in software.
var targets = map[string]target{
	"x86_64":           {"amd64", ""},
	"i386_pentium4":    {"386", "GO386=sse2"},
	"i386_pentium-mmx": {"386", "GO386=softfloat"},

	"aarch64_generic":    {"arm64", ""},
	"aarch64_cortex-a53": {"arm64", ""},
	"aarch64_cortex-a72": {"arm64", ""},
	"aarch64_cortex-a76": {"arm64", ""},

	"arm_arm926ej-s":            {"arm", "GOARM=5"},
	"arm_xscale":                {"arm", "GOARM=5"},
	"arm_cortex-a7":             {"arm", "GOARM=5"},
	"arm_cortex-a9":             {"arm", "GOARM=5"},
	"arm_arm1176jzf-s_vfp":      {"arm", "GOARM=6"},
	"arm_cortex-a5_vfpv4":       {"arm", "GOARM=7"},
	"arm_cortex-a7_vfpv4":       {"arm", "GOARM=7"},
	"arm_cortex-a7_neon-vfpv4":  {"arm", "GOARM=7"},
	"arm_cortex-a8_vfpv3":       {"arm", "GOARM=7"},
	"arm_cortex-a9_vfpv3-d16":   {"arm", "GOARM=7"},
	"arm_cortex-a9_neon":        {"arm", "GOARM=7"},
	"arm_cortex-a15_neon-vfpv4": {"arm", "GOARM=7"},

	"mips_24kc":           {"mips", "GOMIPS=softfloat"},
	"mips_4kec":           {"mips", "GOMIPS=softfloat"},
	"mips_mips32":         {"mips", "GOMIPS=softfloat"},
	"mipsel_24kc":         {"mipsle", "GOMIPS=softfloat"},
	"mipsel_74kc":         {"mipsle", "GOMIPS=softfloat"},
	"mipsel_mips32":       {"mipsle", "GOMIPS=softfloat"},
	"mipsel_24kc_24kf":    {"mipsle", "GOMIPS=hardfloat"},
	"mips64_octeonplus":   {"mips64", "GOMIPS64=softfloat"},
	"mips64_mips64r2":     {"mips64", "GOMIPS64=softfloat"},
	"mips64el_mips64r2":   {"mips64le", "GOMIPS64=softfloat"},
	"riscv64_riscv64":     {"riscv64", ""},
	"riscv64_generic":     {"riscv64", ""},
	"loongarch64_generic": {"loong64", ""},
}

// targetOf finds a machine by its OpenWrt name.
func targetOf(arch string) (target, error) {
	t, ok := targets[arch]
	if ok {
		return t, nil
	}
	var names []string
	for name := range targets {
		names = append(names, name)
	}
	slices.Sort(names)
	return t, fmt.Errorf("no architecture %.40q; `opkg print-architecture` on the router names its own, and these can be built: %s",
		arch, strings.Join(names, ", "))
}

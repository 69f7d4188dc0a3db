package main

import "slices"

// A command is what a name runs. args are without the name.
type command struct {
	name, usage string
	run         func(s streams, args []string) error
}

// commands is the table of all there is, by name. It is a function because sh needs the table and is in it.
func commands() []command {
	return []command{
		{"[", "EXPRESSION ]", byShell("[")},
		{"cat", "[FILE...]", cat},
		{"eat", "STEP SECONDS [LIMIT]   (as in: eat 10m 0.5)", eat},
		{"echo", "[-n] [WORD...]", echo},
		{"env", "[NAME=VALUE...] [COMMAND [ARGS...]]", env},
		{"false", "", func(streams, []string) error { return status(1) }},
		{"head", "[-n LINES] [FILE...]", head},
		{"hostname", "[NAME]", hostname},
		{"id", "[-u | -g] [-n]", id},
		{"kill", "[-SIGNAL] PID...", kill},
		{"limits", "", limits},
		{"ln", "[-sf] TARGET LINK", ln},
		{"ls", "[-la1] [FILE...]", ls},
		{"mkdir", "[-p] DIRECTORY...", mkdir},
		{"mount", "", mount},
		{"printf", "FORMAT [WORD...]", byShell("printf")},
		{"ps", "", ps},
		{"pwd", "", pwd},
		{"rm", "[-rf] FILE...", rm},
		{"sh", "[-eux] [-c COMMAND [NAME [ARGS...]] | FILE [ARGS...]]", sh},
		{"sha256sum", "[FILE...]", sha256sum},
		{"sleep", "SECONDS", sleep},
		{"stat", "FILE...", stat},
		{"test", "EXPRESSION", byShell("test")},
		{"touch", "FILE...", touch},
		{"true", "", func(streams, []string) error { return nil }},
		{"uname", "[-asnrm]", uname},
		{"wc", "[-lwc] [FILE...]", wc},
	}
}

func lookup(name string) (command, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return command{}, false
	}
	return all[i], true
}

func names() []string {
	var all []string
	for _, c := range commands() {
		all = append(all, c.name)
	}
	return all
}

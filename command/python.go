package command

// Python returns the command that runs Python code in the sandbox.
func Python() Command {
	return Func(describe(Spec{Name: "python", Slots: []Slot{{Name: "code", Kind: SlotCode, Lang: "python"}}, Aliases: []string{"py", "python3", "execute", "run_code", "code"}, Effect: EffectExecute}), nil)
}

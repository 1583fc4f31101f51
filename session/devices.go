package session

import (
	"fmt"
	"slices"
	"strings"
)

// Device is one of the aids with which the harness carries a weak model. All
// are on; Options.Without takes some away, so that what each brings can be
// measured.
type Device string

// The devices. Their names are stable: configurations and measurements use
// them.
const (
	DeviceNote        Device = "note"         // a line of free reasoning before the command is chosen
	DeviceNoteStart   Device = "note_start"   // that line begins by what happened before it
	DeviceLookFirst   Device = "look_first"   // a run that can only read begins by reading a file that the task names
	DeviceFileHeads   Device = "file_heads"   // the first message shows how files begin
	DeviceWholeFiles  Device = "whole_files"  // and small ones whole
	DeviceWorkFirst   Device = "work_first"   // the answer is no choice before there was work, where the task plainly needs some
	DeviceOtherWay    Device = "other_way"    // what failed and would be done again is done with another command
	DeviceResultHeads Device = "result_heads" // a result shows how the files begin that it changed
	DeviceErrorLine   Device = "error_line"   // a failure shows the line of code that it names
	DeviceRestate     Device = "restate"      // from the fourth on, each result ends with the task in one line
	DeviceCircleBreak Device = "circle_break" // a turn that would repeat an earlier call is drawn again
	DeviceColdLogic   Device = "cold_logic"   // an answer is held against files, results and the form asked for
)

// Devices lists all there are.
func Devices() []Device {
	return []Device{
		DeviceNote, DeviceNoteStart, DeviceLookFirst, DeviceFileHeads, DeviceWholeFiles,
		DeviceWorkFirst, DeviceOtherWay, DeviceResultHeads, DeviceErrorLine,
		DeviceRestate, DeviceCircleBreak, DeviceColdLogic,
	}
}

// checkDevices refuses names that are none: an ablation that takes nothing
// away would measure nothing.
func checkDevices(without []Device) error {
	for _, d := range without {
		if !slices.Contains(Devices(), d) {
			return &UnknownDeviceError{Name: string(d)}
		}
	}
	return nil
}

// UnknownDeviceError is a name in Options.Without that is no device.
type UnknownDeviceError struct{ Name string }

func (e *UnknownDeviceError) Error() string { return fmt.Sprintf("unknown device %q", e.Name) }

// Hint lists those that exist.
func (e *UnknownDeviceError) Hint() string {
	names := make([]string, 0, len(Devices()))
	for _, d := range Devices() {
		names = append(names, string(d))
	}
	return "known are " + strings.Join(names, ", ")
}

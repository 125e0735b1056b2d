//! Faults on purpose: a device that fails at a chosen call, so that what follows a failure can be tested at every place where one can happen.

use super::device::{Buffers, Device, Launch, Memory};
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The driver refuses the call; as with the real one, the device is lost.
    Launch,
    /// The device is gone.
    Lost,
    /// No memory is left; the device goes on working.
    Memory,
    /// The device does not answer in time, and is lost.
    TimeOut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 4] = [Fault::Launch, Fault::Lost, Fault::Memory, Fault::TimeOut];

    fn error(self) -> Error {
        Error::device(match self {
            Fault::Launch => "launch failed on purpose",
            Fault::Lost => "device lost on purpose",
            Fault::Memory => "out of memory on purpose",
            Fault::TimeOut => "time-out on purpose",
        })
    }
}

/// The plan of faults and the count of calls, shared by all devices that were given it: one that is opened after a failure counts on.
#[derive(Debug, Clone)]
pub struct Faults {
    calls: Arc<AtomicU64>,
    at: Arc<AtomicU64>,
    fault: Fault,
}

impl Faults {
    /// No fault: only counts.
    pub fn none() -> Self {
        Self::at(u64::MAX, Fault::Launch)
    }

    /// Call number `call`, counted from 0, fails.
    pub fn at(call: u64, fault: Fault) -> Self {
        Self { calls: Arc::default(), at: Arc::new(AtomicU64::new(call)), fault }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    /// The next call, whichever it is, fails.
    pub fn fail_next(&self) {
        self.at.store(self.calls(), SeqCst);
    }

    /// Every call from now on fails, as if the device had been pulled out, until [`Faults::heal`].
    pub fn fail_always(&self) {
        self.at.store(ALWAYS, SeqCst);
    }

    /// No more faults. A device that was lost stays lost; one opened from now on works.
    pub fn heal(&self) {
        self.at.store(u64::MAX, SeqCst);
    }

    /// Counts a call; whether it fails.
    fn strikes(&self) -> bool {
        let call = self.calls.fetch_add(1, SeqCst);
        let at = self.at.load(SeqCst);
        at == ALWAYS || at == call
    }
}

const ALWAYS: u64 = u64::MAX - 1;

/// A device with faults.
pub struct Faulty<D> {
    inner: D,
    faults: Faults,
    lost: bool,
}

impl<D: Device> Faulty<D> {
    /// Opens a device; that is a call, too.
    ///
    /// # Errors
    /// A fault, or what `open` gives.
    pub fn open(faults: &Faults, open: impl FnOnce() -> Result<D>) -> Result<Self> {
        if faults.strikes() {
            return Err(faults.fault.error().at("open"));
        }
        Ok(Self { inner: open()?, faults: faults.clone(), lost: false })
    }

    fn call(&mut self, name: &str) -> Result<&mut D> {
        let strikes = self.faults.strikes();
        if self.lost {
            return Err(Error::device("the device was lost earlier, on purpose").at(name));
        }
        if strikes {
            self.lost = self.faults.fault != Fault::Memory;
            return Err(self.faults.fault.error().at(name));
        }
        Ok(&mut self.inner)
    }
}

impl<D: Device> Device for Faulty<D> {
    type Buffer = D::Buffer;
    type Graph = D::Graph;

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn resident_blocks(&mut self, launch: &Launch) -> Result<u32> {
        self.call("resident_blocks")?.resident_blocks(launch)
    }

    fn alloc(&mut self, bytes: usize, memory: Memory) -> Result<Self::Buffer> {
        self.call("alloc")?.alloc(bytes, memory)
    }

    fn write(&mut self, buffer: &mut Self::Buffer, at: usize, bytes: &[u8]) -> Result<()> {
        self.call("write")?.write(buffer, at, bytes)
    }

    fn read(&mut self, buffer: &Self::Buffer, at: usize, into: &mut [u8]) -> Result<()> {
        self.call("read")?.read(buffer, at, into)
    }

    fn launch(&mut self, launch: &Launch, buffers: &Buffers<'_, Self::Buffer>) -> Result<()> {
        self.call("launch")?.launch(launch, buffers)
    }

    fn record(&mut self, launches: &[Launch], buffers: &Buffers<'_, Self::Buffer>) -> Result<Self::Graph> {
        self.call("record")?.record(launches, buffers)
    }

    fn replay(&mut self, graph: &Self::Graph) -> Result<()> {
        self.call("replay")?.replay(graph)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host as a device: bytes in vectors, launches noted.
    struct Host {
        launched: Vec<&'static str>,
    }

    impl Device for Host {
        type Buffer = Vec<u8>;
        type Graph = Vec<Launch>;

        fn describe(&self) -> String {
            "the host".into()
        }

        fn resident_blocks(&mut self, _: &Launch) -> Result<u32> {
            Ok(7)
        }

        fn alloc(&mut self, bytes: usize, _: Memory) -> Result<Vec<u8>> {
            Ok(vec![0; bytes])
        }

        fn write(&mut self, buffer: &mut Vec<u8>, at: usize, bytes: &[u8]) -> Result<()> {
            buffer[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn read(&mut self, buffer: &Vec<u8>, at: usize, into: &mut [u8]) -> Result<()> {
            into.copy_from_slice(&buffer[at..at + into.len()]);
            Ok(())
        }

        fn launch(&mut self, launch: &Launch, _: &Buffers<'_, Vec<u8>>) -> Result<()> {
            self.launched.push(launch.kernel);
            Ok(())
        }

        fn record(&mut self, launches: &[Launch], _: &Buffers<'_, Vec<u8>>) -> Result<Vec<Launch>> {
            Ok(launches.to_vec())
        }

        fn replay(&mut self, graph: &Vec<Launch>) -> Result<()> {
            self.launched.extend(graph.iter().map(|l| l.kernel));
            Ok(())
        }
    }

    const LAUNCH: Launch =
        Launch { kernel: "k", grid: 1, block: 1, shared_bytes: 0, cooperative: false, layer: 0, streams: 1 };

    /// Every method once, in an order.
    fn every_call(faults: &Faults) -> Result<Vec<&'static str>> {
        let mut device = Faulty::open(faults, || Ok(Host { launched: Vec::new() }))?;
        device.resident_blocks(&LAUNCH)?;
        let mut buffer = device.alloc(4, Memory::Staging)?;
        device.write(&mut buffer, 1, &[5, 6])?;
        let buffers = Buffers { model: &buffer, arena: &buffer, io: &buffer };
        device.launch(&LAUNCH, &buffers)?;
        let graph = device.record(&[LAUNCH, LAUNCH], &buffers)?;
        device.replay(&graph)?;
        let mut back = [0; 4];
        device.read(&buffer, 0, &mut back)?;
        assert_eq!(back, [0, 5, 6, 0]);
        Ok(device.inner.launched)
    }

    #[test]
    fn without_faults_everything_passes_and_is_counted() {
        let faults = Faults::none();
        assert_eq!((every_call(&faults).unwrap(), faults.calls()), (vec!["k"; 3], 8));
    }

    #[test]
    fn each_call_can_be_made_to_fail_in_each_way() {
        let names = ["open", "resident_blocks", "alloc", "write", "launch", "record", "replay", "read"];
        for (i, name) in names.iter().enumerate() {
            for fault in Fault::ALL {
                let e = every_call(&Faults::at(i as u64, fault)).unwrap_err();
                assert!(e.kind() == crate::ErrorKind::Device && e.to_string().starts_with(name), "{e}");
            }
        }
    }

    #[test]
    fn a_lost_device_stays_lost_and_the_next_one_works() {
        let faults = Faults::none();
        let mut device = Faulty::open(&faults, || Ok(Host { launched: Vec::new() })).unwrap();
        faults.fail_next();
        assert!(device.alloc(1, Memory::Device).is_err());
        faults.heal();
        assert!(device.alloc(1, Memory::Device).unwrap_err().to_string().contains("lost earlier"));
        faults.fail_always();
        assert!(every_call(&faults).is_err() && every_call(&faults).is_err());
        faults.heal();
        assert!(every_call(&faults).is_ok());
        let starved = Faults::at(1, Fault::Memory);
        let mut device = Faulty::open(&starved, || Ok(Host { launched: Vec::new() })).unwrap();
        assert!(device.alloc(1, Memory::Device).is_err() && device.alloc(1, Memory::Device).is_ok());
    }
}

use super::*;
use crate::train::full::partial::named;
use burn::module::Module;
use burn::tensor::Tensor;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn answers(path: &Path) -> Named {
    let tensors = PytorchReader::new(path).unwrap().into_tensors();
    tensors.into_iter().map(|(k, t)| (k, bridge::into_data(bridge::from_pytorch(t)).unwrap())).collect()
}

fn narrow(device: &Device) -> Import {
    import(&golden("full-narrow.pth"), &FullSpec { size_px: 32, ..FullSpec::default() }, device).unwrap()
}

fn gap<const D: usize>(found: Tensor<D>, wanted: &TensorData) -> f32 {
    let found = found.into_data();
    assert_eq!(found.shape(), wanted.shape());
    found.iter::<f32>().zip(wanted.iter::<f32>()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn an_authors_checkpoint_gives_pytorchs_logits() {
    let device = Device::flex();
    let (import, wanted) = (narrow(&device), answers(&golden("full-narrow-answers.pth")));
    assert_eq!(import.spec, FullSpec { size_px: 32, width: 4, hidden: 8, layers: 2 });
    assert!(import.whole && import.skipped.iter().all(|k| k.starts_with("gru2.")) && import.skipped.len() == 18);
    let logits = import.net.forward(Tensor::from_data(wanted["clips"].clone(), &device));
    let gap = gap(logits, &wanted["eval"]);
    assert!(gap < 1e-4, "{gap}");
}

#[test]
fn training_gives_pytorchs_logits_gradients_and_running_mean() {
    let device = Device::flex().autodiff();
    let (net, wanted) = (narrow(&device).net, answers(&golden("full-narrow-answers.pth")));
    let logits = net.forward(Tensor::from_data(wanted["clips"].clone(), &device));
    let loss = logits.clone().powi_scalar(2).mean();
    let grads = loss.backward();
    assert!(gap(logits, &wanted["train"]) < 1e-4);
    let mean = named(&net.valid())["backbone.trunk.7.second.norm.running_mean"].clone();
    assert!(gap(Tensor::<1>::from_data(mean, &device), &wanted["mean"]) < 1e-5);

    let (trunk, gru) = (&net.backbone.trunk, &net.gru.layers);
    let close = |key: &str, found: TensorData, change: Change| {
        let wanted = change.apply(&wanted[key], &found.shape().to_vec());
        let scale = wanted.iter::<f32>().map(f32::abs).fold(0.0, f32::max);
        let gap = gap(Tensor::<1>::from_data(flat(found), &device), &flat(wanted));
        assert!(gap < 1e-4 * scale, "{key}: {gap} of {scale}");
    };
    let stem = net.backbone.stem.layer.conv.grad(&grads).unwrap().into_data();
    close("frontend3D.0.weight", stem, Change::DropChannel);
    let shortcut = trunk[2].shortcut.as_ref().unwrap().conv.grad(&grads).unwrap().into_data();
    close("trunk.layer2.0.downsample.0.weight", shortcut, Change::None);
    close("trunk.layer4.1.bn2.weight", trunk[7].second.norm.gamma.grad(&grads).unwrap().into_data(), Change::None);
    let recurrent = gru[0].backward.recurrent.grad(&grads).unwrap().into_data();
    close("gru.gru.weight_hh_l0_reverse", recurrent, Change::Transpose);
    close("gru.gru.bias_hh_l1", gru[1].forward.recurrent_bias.grad(&grads).unwrap().into_data(), Change::None);
    close("gru.fc.weight", net.head.weight.grad(&grads).unwrap().into_data(), Change::Transpose);
}

fn flat(data: TensorData) -> TensorData {
    let values: Vec<f32> = data.iter::<f32>().collect();
    let n = values.len();
    TensorData::new(values, [n])
}

/// Run by `tests/outside/full_model.py`, which writes the folder.
#[test]
#[ignore = "needs a folder from tests/outside/full_model.py in VAERR_FULL_MODEL"]
fn the_full_size_model_agrees_with_pytorch() {
    let folder = std::env::var("VAERR_FULL_MODEL").expect("VAERR_FULL_MODEL");
    let folder = Path::new(&folder);
    let device = Device::flex();
    let import = import(&folder.join("weights.pth"), &FullSpec::default(), &device).unwrap();
    assert_eq!(import.spec, FullSpec::default());
    let wanted = answers(&folder.join("answers.pth"));
    let gap = gap(import.net.forward(Tensor::from_data(wanted["clips"].clone(), &device)), &wanted["logits"]);
    println!("gap to PyTorch: {gap:.1e}");
    assert!(gap < 1e-4);
}

#[test]
fn every_tensor_of_the_network_has_a_key() {
    for layers in [1, 2, 3] {
        let spec = FullSpec { size_px: 32, width: 1, hidden: 2, layers };
        let net = FullNet::new(&spec, 0, &Device::flex()).unwrap();
        let mut table = backbone();
        table.extend(temporal(layers));
        let mut names: Vec<String> = table.into_iter().map(|(_, ours, _)| ours).collect();
        names.sort_unstable();
        assert!(names.into_iter().eq(named(&net).into_keys()));
    }
}

#[test]
fn the_prefix_is_found_in_any_wrapper() {
    let of = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|k| format!("{k}{ANCHOR}")).collect();
        prefix(keys.iter()).map_err(|e| e.to_string())
    };
    assert_eq!(of(&[""]).unwrap(), "");
    assert_eq!(of(&["model_state_dict.module."]).unwrap(), "model_state_dict.module.");
    assert_eq!(of(&["teacher.module.backbone.", "student.module.backbone."]).unwrap(), "student.module.backbone.");
    assert!(of(&["a.", "b."]).unwrap_err().contains("several networks: a., b."));
    assert!(of(&["my"]).unwrap_err().contains("no key ending in"));
    assert!(of(&[]).is_err());
}

#[test]
fn what_is_no_such_checkpoint_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text.pth");
    std::fs::write(&text, "not a checkpoint").unwrap();
    let whole = std::fs::read(golden("full-narrow.pth")).unwrap();
    let torn = dir.path().join("torn.pth");
    std::fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let none = dir.path().join("none.pth");
    let cases = [
        (&text, "no PyTorch checkpoint"),
        (&torn, "no PyTorch checkpoint"),
        (&none, "no PyTorch checkpoint"),
        (&golden("full-narrow-answers.pth"), "lacks frontend3D.1.bias"),
    ];
    for (path, words) in cases {
        let message = import(path, &FullSpec::default(), &Device::flex()).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains(path.to_str().unwrap()), "{message}");
    }
}

#[test]
fn safetensors_give_the_same_network() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full.safetensors");
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (key, tensor) in read(&golden("full-narrow.pth")).unwrap().0 {
        let (_, dtype, shape, _, bytes) = tensor.into_parts().unwrap();
        let dtype = if dtype == burn::tensor::DType::I64 { "I64" } else { "F32" };
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(key, serde_json::json!({ "dtype": dtype, "shape": shape.to_vec(), "data_offsets": offsets }));
        data.extend_from_slice(&bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
    let device = Device::flex();
    let found = import(&path, &FullSpec { size_px: 32, ..FullSpec::default() }, &device).unwrap();
    assert_eq!(named(&found.net), named(&narrow(&device).net));
}

#[test]
fn missing_and_misshapen_keys_are_listed() {
    let device = Device::flex();
    let net = FullNet::new(&FullSpec { size_px: 32, width: 4, hidden: 8, layers: 2 }, 0, &device).unwrap();
    let mut table = backbone();
    table.extend(temporal(2));
    let failure = |spoil: &dyn Fn(&mut Keys), net: &FullNet| {
        let mut keys = read(&golden("full-narrow.pth")).unwrap().0;
        spoil(&mut keys);
        convert(&mut keys, &table, &named(net)).unwrap_err().to_string()
    };
    let gone = |keys: &mut Keys| keys.retain(|k, _| k != "gru.fc.bias" && k != "trunk.layer3.1.bn2.running_var");
    let message = failure(&gone, &net);
    assert!(message.contains("lacks gru.fc.bias, trunk.layer3.1.bn2.running_var"), "{message}");
    let other = FullNet::new(&FullSpec { size_px: 32, width: 4, hidden: 9, layers: 2 }, 0, &device).unwrap();
    let message = failure(&|_| (), &other);
    assert!(message.contains("gru.fc.weight is [42, 16], expected [42, 18]"), "{message}");
}

#[test]
fn a_pretext_checkpoint_gives_the_backbone_alone() {
    let mut keys = read(&golden("full-narrow.pth")).unwrap().0;
    keys.retain(|k, _| !k.starts_with("gru."));
    let (spec, whole) = spec(&keys, &FullSpec { size_px: 80, ..FullSpec::default() }).unwrap();
    assert_eq!((spec, whole), (FullSpec { size_px: 80, width: 4, hidden: 256, layers: 2 }, false));
    let net = FullNet::new(&FullSpec { size_px: 32, width: 4, hidden: 2, layers: 1 }, 0, &Device::flex()).unwrap();
    let tensors = convert(&mut keys, &backbone(), &named(&net)).unwrap();
    let (net, report) = partial::apply(net, tensors);
    assert!(report.missing.iter().all(|n| !n.starts_with("backbone.")));
    assert_eq!(named(&net.backbone), named(&narrow(&Device::flex()).net.backbone));
}

#[test]
fn prelu_is_refused() {
    let mut keys = read(&golden("full-narrow.pth")).unwrap().0;
    assert!(refuse_prelu(&keys).is_ok());
    let slope = keys.remove("frontend3D.1.bias").unwrap();
    keys.insert("trunk.layer1.0.relu1.weight".into(), slope);
    assert!(refuse_prelu(&keys).unwrap_err().to_string().contains("PReLU"));
}

/// A `.safetensors` of zeros: names, shapes.
fn zeros(tensors: &[(&str, &[usize])]) -> tempfile::NamedTempFile {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in tensors {
        let end = at + 4 * shape.iter().product::<usize>();
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]});
        header.insert((*name).to_owned(), entry);
        at = end;
    }
    let header = serde_json::Value::from(header).to_string();
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile().unwrap();
    let whole = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; at]].concat();
    std::fs::write(file.path(), whole).unwrap();
    file
}

#[test]
fn a_small_file_that_claims_a_large_network_is_refused_before_the_network_is_made() {
    let stem: &[usize] = &[256, 1, 5, 7, 7];
    for (file, want) in [
        (zeros(&[(ANCHOR, stem)]), "claims a network of 178"),
        (zeros(&[(ANCHOR, &[4, 1, 5, 7, 7]), ("gru.gru.weight_hh_l0", &[1, 2048])]), "claims a network of"),
    ] {
        let start = std::time::Instant::now();
        let e = import(file.path(), &FullSpec::default(), &Device::flex()).unwrap_err().to_string();
        assert!(e.contains(want) && e.contains("of which it holds"), "{e}");
        assert!(start.elapsed().as_secs() < 5);
    }
    let tensor = |shape: Vec<usize>| {
        Stored::deferred("a".into(), burn::tensor::DType::F32, shape, None, 4, || unreachable!("not read"))
    };
    assert_eq!(values(&[tensor(vec![2, 3]), tensor(vec![4])], 1000).unwrap(), 10);
    assert_eq!(values(&[tensor(vec![200]), tensor(vec![200])], 800).unwrap(), 400);
    for shape in [vec![201], vec![usize::MAX, 2], vec![usize::MAX / 2]] {
        assert!(values(&[tensor(shape)], 800).unwrap_err().to_string().contains("of 800 bytes can hold"));
    }
}

#[test]
fn weights_are_counted_as_the_network_has_them() {
    for spec in [FullSpec::default(), FullSpec { size_px: 32, width: 3, hidden: 5, layers: 3 }] {
        let net = FullNet::new(&spec, 0, &Device::flex()).unwrap();
        let of = |part: &str| -> u64 {
            let matrices = partial::named(&net)
                .into_iter()
                .filter(|(name, data)| name.starts_with(part) && data.shape().to_vec().len() > 1);
            matrices.map(|(_, data)| data.shape().to_vec().iter().product::<usize>() as u64).sum()
        };
        assert_eq!((of("backbone."), of("gru.")), (spec.backbone_weights(), spec.temporal_weights()));
    }
}

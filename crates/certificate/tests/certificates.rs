//! Certificates as files, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may stop where its own certificates are wrong")]

use onnx2int_certificate::{Certificate, CertificateError, CertifyError, LayerWitnesses, ModelFile, certify};
use onnx2int_graph::{Graph, Stage, range, verify};
use onnx2int_interpreter::run;

const MODEL: &str = "in %x: u8[N,1,4,4]
const %conv_w: i8[2,1,3,3] = cycle [50, -25, 100]
const %conv_b: i32[1,2,1,1] = [5000, -1250]
const %fc_w: i8[8,3] = cycle [50, -25]
const %fc_b: i32[3] = [500, 0, -250]
const %high: i32[1,2,1,1] = [127500, 63750]
const %mantissa: i32[1,2,1,1] = [16777, 33554]
%c: i32[N,2,4,4] = ConvInteger(%x, %conv_w, 33u8, 0i8) pads=[1,1,1,1] @conv
%y: i32[N,2,4,4] = Add(%c, %conv_b)
%r: i32[N,2,4,4] = Relu(%y)
%clip: i32[N,2,4,4] = Min(%r, %high)
%scaled: i32[N,2,4,4] = Mul(%clip, %mantissa)
%rounded: i32[N,2,4,4] = Add(%scaled, 4194304i32)
%shifted: i32[N,2,4,4] = Div(%rounded, 8388608i32)
%yq: u8[N,2,4,4] = Cast(%shifted) to=u8
%p: u8[N,2,2,2] = MaxPool(%yq) kernel_shape=[2,2] strides=[2,2]
%f: u8[N,8] = Flatten(%p)
%products: i32[N,3] = MatMulInteger(%f, %fc_w, 0u8, 0i8) @fc
%logits: i32[N,3] = Add(%products, %fc_b)
out %logits";

fn file() -> ModelFile {
    ModelFile { sha256: "0123456789abcdef".repeat(4), bytes: 1234 }
}

fn certificate_of(text: &str) -> Certificate {
    certify(&Graph::from_text(text).unwrap(), Stage::ScaleOut, file()).unwrap()
}

#[test]
fn it_states_bounds_widths_and_obligations() {
    let certificate = certificate_of(MODEL);
    let json = certificate.to_json();
    let line = |key: &str| {
        json.lines().find(|line| line.contains(key)).unwrap().trim().trim_end_matches(',').to_owned()
    };
    // Each filter has three taps of 50, -25 and 100 each; x - 33 is in [-33, 222].
    let (low, high) = (3 * (150 * -33 - 25 * 222), 3 * (150 * 222 + 25 * 33));
    assert_eq!(
        line(r#""name":"c""#),
        format!(
            r#"{{"name":"c","node":"conv","op":"ConvInteger","dtype":"i32","shape":["N",2,4,4],"axis":1,"lows":[{low},{low}],"highs":[{high},{high}],"attained":{{"lows":[[2,"network"]],"highs":[[2,"network"]]}}}}"#
        )
    );
    assert_eq!(
        line(r#""rule":"narrowing"#),
        r#"{"rule":"narrowing-cast-is-clipped","node":"yq","tensor":"shifted","low":0,"high":255,"least":0,"greatest":255}"#
    );
    let [conv, fc] = certificate.layers.as_slice() else { panic!("{:?}", certificate.layers) };
    assert_eq!((conv.products, conv.bits, conv.headroom), (9, 18, 14));
    assert_eq!(conv.fits, ["int24", "f32-exact", "int32"]);
    // 50 and -25 by turns over four positions of each of two channels. The first is in [0, 215],
    // as its accumulator does not reach the clip: (102375 + 5000) * 16777 / 2^23 + 1/2.
    assert_eq!((fc.products, fc.low, fc.high), (8, -25 * 2 * (215 + 255), 50 * 2 * (215 + 255)));
    assert_eq!(fc.channels[0].low_attained, "layer");
    assert!(certificate.obligations.iter().all(|obligation| obligation.holds()));
    certificate.check_obligations().unwrap();
}

#[test]
fn it_is_the_same_on_every_run_and_survives_its_file() {
    let certificate = certificate_of(MODEL);
    let json = certificate.to_json();
    assert_eq!(certificate_of(MODEL).to_json(), json);
    let read = Certificate::from_json(json.as_bytes()).unwrap();
    assert_eq!(read, certificate);
    assert_eq!(read.to_json(), json);
    assert_eq!(certificate.difference(&read), None);
    // What orders the constants is their names, not the order in the file.
    let names: Vec<_> = certificate.constants.iter().map(|constant| &constant.name).collect();
    assert!(names.is_sorted() && names.len() > 7, "{names:?}");
}

#[test]
fn stages_in_floats_are_refused_by_name() {
    let graph = Graph::from_text(MODEL).unwrap();
    for stage in Stage::ALL.into_iter().filter(|&stage| stage < Stage::Integer) {
        let error = certify(&graph, stage, file()).unwrap_err();
        assert!(matches!(error, CertifyError::Stage { .. }));
        assert!(error.to_string().contains(stage.name()), "{error}");
    }
    // The rules of the stage are checked here too, whoever calls.
    let overflowing = MODEL.replace("[500, 0, -250]", "[2147483647, 0, -250]");
    let error = certify(&Graph::from_text(&overflowing).unwrap(), Stage::ScaleOut, file()).unwrap_err();
    assert!(matches!(error, CertifyError::Rules { .. }), "{error}");
}

#[test]
fn a_change_of_the_model_changes_the_certificate_and_is_located() {
    let expected = certificate_of(MODEL);
    for (from, to, path) in [
        ("cycle [50, -25, 100]", "cycle [51, -25, 100]", r#"constants["conv_w"].sha256"#),
        ("[5000, -1250]", "[5000, -1251]", r#"constants["conv_b"].sha256"#),
        ("pads=[1,1,1,1]", "pads=[2,1,0,1]", ""),
    ] {
        let text = MODEL.replace(from, to);
        assert_ne!(text, MODEL);
        let difference = expected.difference(&certificate_of(&text));
        if path.is_empty() {
            // Moved padding changes no bound; the digest of the file tells the two apart.
            assert_eq!(difference, None);
        } else {
            assert_eq!(difference.unwrap().path, path);
        }
    }
}

#[test]
fn any_number_that_is_changed_is_found() {
    let expected = certificate_of(MODEL);
    let mut tried = 0;
    for tensor in 0..expected.tensors.len() {
        for channel in 0..expected.tensors[tensor].lows.len() {
            for step in [-1, 1] {
                let mut low = expected.clone();
                low.tensors[tensor].lows[channel] += step;
                let mut high = expected.clone();
                high.tensors[tensor].highs[channel] += step;
                let entry = format!("tensors[{:?}]", expected.tensors[tensor].name);
                assert_eq!(expected.difference(&low).unwrap().path, format!("{entry}.lows[{channel}]"));
                assert_eq!(expected.difference(&high).unwrap().path, format!("{entry}.highs[{channel}]"));
                tried += 2;
            }
        }
    }
    assert!(tried > 60, "{tried}");
}

#[test]
fn entries_that_contradict_each_other_are_refused() {
    let good = certificate_of(MODEL);
    let refused = |change: &dyn Fn(&mut Certificate)| {
        let mut certificate = good.clone();
        change(&mut certificate);
        match Certificate::from_json(certificate.to_json().as_bytes()) {
            Err(error @ CertificateError::Inconsistent { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    for (message, change) in [
        (refused(&|c| c.tensors[0].highs.truncate(1)), "as many lows as highs"),
        (refused(&|c| c.tensors[0].axis = None), "axis 1 with several bounds"),
        (refused(&|c| c.tensors[0].lows[0] = i64::MAX), "not above the high"),
        (refused(&|c| c.tensors[0].attained.lows[0].0 = u64::MAX), "runs of 2 channels"),
        (refused(&|c| c.tensors[0].attained.lows[0].1 = "surely".to_owned()), "network, layer"),
        (refused(&|c| c.tensors[1].name = "x".to_owned()), "one entry"),
        (refused(&|c| c.layers[0].bits += 1), "18 bits"),
        (refused(&|c| c.layers[0].low -= 1), "the hull of its channels"),
        (refused(&|c| c.model.sha256.push('0')), "64 lower-case"),
        (refused(&|c| c.stage = "split".to_owned()), "integer"),
        (refused(&|c| c.layers[1].channels.clear()), "at least one"),
    ] {
        assert!(message.contains(change), "{message}: {change}");
    }
    let mut broken = good.clone();
    broken.obligations[0].high = i64::MAX;
    assert!(broken.check_obligations().unwrap_err().to_string().contains("accumulator-fits-i32"));
}

#[test]
fn other_schemas_and_other_texts_are_told_as_such() {
    let json = certificate_of(MODEL).to_json();
    let newer = json.replace("certificate/1", "certificate/2");
    assert!(matches!(Certificate::from_json(newer.as_bytes()), Err(CertificateError::Schema { .. })));
    let extra = json.replacen('{', "{\"trusted\": true,", 1);
    assert!(matches!(Certificate::from_json(extra.as_bytes()), Err(CertificateError::Json { .. })));
    let twice = json.replacen('{', "{\"stage\": \"scale_out\",", 1);
    assert!(matches!(Certificate::from_json(twice.as_bytes()), Err(CertificateError::Json { .. })));
}

#[test]
fn no_text_makes_the_reader_panic() {
    let json = certificate_of(MODEL).to_json().into_bytes();
    for end in (0..json.len()).step_by(17) {
        assert!(Certificate::from_json(&json[..end]).is_err());
    }
    // A digit of a bound may become another one. What is read is told from the original.
    let original = certificate_of(MODEL);
    let mut read = 0;
    for position in (0..json.len()).step_by(13) {
        for byte in [b'0', b'9', b'"', b'-', b'}', 0xff] {
            let mut changed = json.clone();
            changed[position] = byte;
            if let Ok(found) = Certificate::from_json(&changed) {
                assert_eq!(original.difference(&found).is_none(), found == original);
                assert_eq!(Certificate::from_json(found.to_json().as_bytes()).unwrap(), found);
                read += 1;
            }
        }
    }
    assert!(read > 0 && read < json.len(), "{read}");
    let deep = "[".repeat(1 << 20);
    assert!(Certificate::from_json(deep.as_bytes()).is_err());
}

/// A layer behind a table for each channel, and one behind the fixed-point sum of it and the input.
const BRANCHES: &str = "in %x: u8[N,2,2,2]
const %table: u8[512] = cycle [3, 200, 90]
const %offsets: i32[2,1,1] = [0, 256]
const %conv_w: i8[2,2,1,1] = [50, -25, 100, 3]
const %fc_w: i8[8,3] = cycle [50, -25]
%index: i32[N,2,2,2] = Cast(%x) to=i32
%channel_index: i32[N,2,2,2] = Add(%index, %offsets)
%t: u8[N,2,2,2] = Gather(%table, %channel_index) axis=0 @table_lookup
%c: i32[N,2,2,2] = ConvInteger(%t, %conv_w, 33u8, 0i8) @conv
%relu: i32[N,2,2,2] = Relu(%c)
%clip: i32[N,2,2,2] = Min(%relu, 255i32)
%q: u8[N,2,2,2] = Cast(%clip) to=u8
%a: i32[N,2,2,2] = Cast(%q) to=i32
%am: i32[N,2,2,2] = Mul(%a, 4000i32)
%b: i32[N,2,2,2] = Cast(%x) to=i32
%bm: i32[N,2,2,2] = Mul(%b, -3000i32)
%sum: i32[N,2,2,2] = Add(%am, %bm)
%rounded: i32[N,2,2,2] = Add(%sum, 2048i32)
%low: i32[N,2,2,2] = Max(%rounded, 0i32)
%high: i32[N,2,2,2] = Min(%low, 1048575i32)
%shifted: i32[N,2,2,2] = Div(%high, 4096i32)
%s: u8[N,2,2,2] = Cast(%shifted) to=u8
%f: u8[N,8] = Flatten(%s)
%logits: i32[N,3] = MatMulInteger(%f, %fc_w, 0u8, 0i8) @fc
out %logits";

#[test]
fn an_index_of_a_table_is_an_obligation() {
    let certificate = certificate_of(BRANCHES);
    let json = certificate.to_json();
    let line = json.lines().find(|line| line.contains("gather-index")).unwrap().trim().trim_end_matches(',');
    assert_eq!(
        line,
        r#"{"rule":"gather-index-in-range","node":"table_lookup","tensor":"channel_index","low":0,"high":511,"least":0,"greatest":511}"#
    );
    // A table's entries bound what it gives, which bounds the layer behind it.
    let conv = &certificate.layers[0].channels[0];
    assert_eq!((conv.low, conv.high), (50 * -30 - 25 * 167, 50 * 167 + 25 * 30));
    assert_eq!((conv.low_attained.as_str(), conv.high_attained.as_str()), ("layer", "layer"));
}

#[test]
fn witnesses_behind_tables_and_sums_are_of_the_layer_alone() {
    let graph = Graph::from_text(BRANCHES).unwrap();
    let verified = verify(&graph).unwrap();
    let ranges = range::analyze(verified);
    let attained = range::attained(verified, &ranges);
    for name in ["conv", "fc"] {
        let node = graph.node_by_name(name).unwrap();
        let witnesses = LayerWitnesses::of(verified, &ranges, &attained, node).unwrap();
        assert!(!witnesses.is_network, "{name}: a table or a sum is not undone");
        let extracted = verify(&witnesses.graph).unwrap();
        let sums = run(extracted, std::slice::from_ref(&witnesses.input)).unwrap().remove(0);
        witnesses.check(&sums).unwrap();
    }
}
